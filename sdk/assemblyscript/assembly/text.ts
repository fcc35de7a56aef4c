// A text as the host has it: bytes, which may not be UTF-8.
@final
export class Text {
  static readonly empty: Text = new Text(0, 0);

  constructor(
    readonly at: usize,
    readonly length: i32,
  ) {}

  @operator("[]")
  get(i: i32): u8 {
    if (<u32>i >= <u32>this.length) throw new RangeError("no such byte");
    return load<u8>(this.at + i);
  }

  equals(s: string): bool {
    return this.length == String.UTF8.byteLength(s) && this.startsWith(s);
  }

  // Whether s is what begins at a byte.
  startsWith(s: string, from: i32 = 0): bool {
    if (s.length > this.length - from) return false;
    for (let i = 0; i < s.length; i++) {
      const c = s.charCodeAt(i);
      if (c > 127) return this.startsWithBytes(String.UTF8.encode(s), from);
      if (load<u8>(this.at + from + i) != c) return false;
    }
    return true;
  }

  private startsWithBytes(b: ArrayBuffer, from: i32): bool {
    return b.byteLength <= this.length - from && memory.compare(changetype<usize>(b), this.at + from, b.byteLength) == 0;
  }

  toString(): string {
    return String.UTF8.decodeUnsafe(this.at, this.length);
  }
}
