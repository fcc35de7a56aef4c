// A small JSON reader, for configurations.

export enum JsonKind {
  null,
  bool,
  number,
  string,
  array,
  object,
}

// A JSON value.
export class Json {
  kind: JsonKind = JsonKind.null;
  text: string = ""; // a string's contents; a number or a bool as it is written
  items: Json[] = []; // of an array; the values of an object
  keys: string[] = []; // of an object

  // Returns null for what is no JSON, or nested deeper than 64.
  static parse(text: string): Json | null {
    const p = new Parser(text);
    const v = p.value();
    p.blanks();
    return p.failed || p.at < text.length ? null : v;
  }

  // Returns a member of an object, of those of one name the last; or null, as JSON
  // has it.
  get(key: string): Json {
    const i = this.keys.lastIndexOf(key);
    return i < 0 ? nothing : this.items[i];
  }

  // Returns a string's contents; of another value, otherwise.
  string(otherwise: string = ""): string {
    return this.kind == JsonKind.string ? this.text : otherwise;
  }

  // Returns a number without sign, fraction and exponent; of another value,
  // otherwise.
  number(otherwise: u64 = 0): u64 {
    if (this.kind != JsonKind.number) return otherwise;
    let n: u64 = 0;
    for (let i = 0; i < this.text.length; i++) {
      const digit = <u64>(this.text.charCodeAt(i) - 48);
      if (digit > 9 || n > (u64.MAX_VALUE - digit) / 10) return otherwise;
      n = n * 10 + digit;
    }
    return n;
  }

  // Returns the strings in an array.
  strings(): string[] {
    const list: string[] = [];
    for (let i = 0; i < this.items.length; i++) list.push(this.items[i].string());
    return list;
  }
}

const nothing = new Json();

class Parser {
  at: i32 = 0;
  failed: bool = false;
  private depth: i32 = 0;

  constructor(private text: string) {}

  blanks(): void {
    for (; this.at < this.text.length; this.at++) {
      const c = this.text.charCodeAt(this.at);
      if (c != 32 && c != 9 && c != 10 && c != 13) return;
    }
  }

  private word(w: string): bool {
    const is = this.text.substr(this.at, w.length) == w;
    if (is) this.at += w.length;
    return is;
  }

  private accept(w: string): bool {
    this.blanks();
    return this.word(w);
  }

  private expect(w: string): void {
    if (!this.accept(w)) this.failed = true;
  }

  value(): Json {
    const v = new Json();
    if (++this.depth > 64) this.failed = true;
    if (this.failed) return v;
    this.blanks();
    const from = this.at;
    if (this.word("{")) {
      v.kind = JsonKind.object;
      this.children(v, "}");
    } else if (this.word("[")) {
      v.kind = JsonKind.array;
      this.children(v, "]");
    } else if (this.word('"')) {
      v.kind = JsonKind.string;
      v.text = this.string();
    } else {
      if (this.word("null")) v.kind = JsonKind.null;
      else if (this.word("true") || this.word("false")) v.kind = JsonKind.bool;
      else {
        v.kind = JsonKind.number;
        this.number();
      }
      v.text = this.text.substring(from, this.at);
    }
    this.depth--;
    return v;
  }

  private children(v: Json, close: string): void {
    if (this.accept(close)) return;
    do {
      if (v.kind == JsonKind.object) {
        this.expect('"');
        if (this.failed) return;
        v.keys.push(this.string());
        this.expect(":");
      }
      v.items.push(this.value());
      if (this.failed) return;
    } while (this.accept(","));
    this.expect(close);
  }

  private digits(): void {
    const from = this.at;
    while (this.at < this.text.length && <u32>(this.text.charCodeAt(this.at) - 48) < 10) this.at++;
    if (this.at == from) this.failed = true;
  }

  private number(): void {
    this.word("-");
    if (!this.word("0")) this.digits();
    if (this.word(".")) this.digits();
    if (!this.word("e") && !this.word("E")) return;
    if (!this.word("+")) this.word("-");
    this.digits();
  }

  private hex(): i32 {
    let v = 0;
    for (let i = 0; i < 4; i++) {
      const c = this.at < this.text.length ? this.text.charCodeAt(this.at++) : 0;
      const lower = c | 32;
      if (c >= 48 && c <= 57) v = (v << 4) | (c - 48);
      else if (lower >= 97 && lower <= 102) v = (v << 4) | (lower - 87);
      else this.failed = true;
    }
    return v;
  }

  // Reads a string's contents, after its opening quote.
  private string(): string {
    const parts: string[] = [];
    let from = this.at;
    while (!this.failed && this.at < this.text.length) {
      const c = this.text.charCodeAt(this.at);
      if (c < 32) break;
      if (c == 34 || c == 92) {
        parts.push(this.text.substring(from, this.at++));
        if (c == 34) return parts.join("");
        parts.push(this.escape());
        from = this.at;
      } else {
        this.at++;
      }
    }
    this.failed = true;
    return "";
  }

  // Strings are UTF-16, as escapes are: both halves of a pair stay as they are.
  private escape(): string {
    const c = this.at < this.text.length ? this.text.charAt(this.at++) : "";
    if (c == '"' || c == "\\" || c == "/") return c;
    if (c == "b") return "\b";
    if (c == "f") return "\f";
    if (c == "n") return "\n";
    if (c == "r") return "\r";
    if (c == "t") return "\t";
    if (c == "u") return String.fromCharCode(this.hex());
    this.failed = true;
    return "";
  }
}
