//! A small JSON reader, for configurations.

use alloc::string::String;
use alloc::vec::Vec;

/// A JSON value. Numbers are as they are written.
#[derive(Clone, Debug, PartialEq)]
pub enum Json {
    Null,
    Bool(bool),
    Number(String),
    String(String),
    Array(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl Json {
    /// Returns None for what is not JSON, or nested deeper than 64.
    pub fn parse(text: &[u8]) -> Option<Json> {
        let mut p = Parser { rest: core::str::from_utf8(text).ok()?, depth: 0 };
        let v = p.value()?;
        p.blanks();
        p.rest.is_empty().then(|| v)
    }

    /// Returns a member of an object; of those of one name the last.
    pub fn get(&self, key: &str) -> Option<&Json> {
        match self {
            Json::Object(members) => members.iter().rev().find(|(k, _)| k == key).map(|(_, v)| v),
            _ => None,
        }
    }

    pub fn str(&self) -> Option<&str> {
        match self {
            Json::String(s) => Some(s),
            _ => None,
        }
    }

    /// A number without sign, fraction and exponent.
    pub fn number(&self) -> Option<u64> {
        match self {
            Json::Number(n) => n.parse().ok(),
            _ => None,
        }
    }

    /// The items of an array; of anything else there are none.
    pub fn items(&self) -> &[Json] {
        match self {
            Json::Array(items) => items,
            _ => &[],
        }
    }

    /// The strings in an array.
    pub fn strings(&self) -> Vec<String> {
        self.items().iter().filter_map(Json::str).map(String::from).collect()
    }
}

struct Parser<'a> {
    rest: &'a str,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn blanks(&mut self) {
        self.rest = self.rest.trim_start_matches(&[' ', '\t', '\n', '\r'][..]);
    }

    fn word(&mut self, w: &str) -> bool {
        match self.rest.strip_prefix(w) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn accept(&mut self, w: &str) -> bool {
        self.blanks();
        self.word(w)
    }

    fn value(&mut self) -> Option<Json> {
        self.depth += 1;
        if self.depth > 64 {
            return None;
        }
        let v = if self.accept("{") {
            Json::Object(self.list("}", |p| {
                let key = if p.accept("\"") { p.string()? } else { return None };
                if !p.accept(":") {
                    return None;
                }
                Some((key, p.value()?))
            })?)
        } else if self.word("[") {
            Json::Array(self.list("]", Self::value)?)
        } else if self.word("\"") {
            Json::String(self.string()?)
        } else if self.word("null") {
            Json::Null
        } else if self.word("true") {
            Json::Bool(true)
        } else if self.word("false") {
            Json::Bool(false)
        } else {
            Json::Number(self.number()?)
        };
        self.depth -= 1;
        Some(v)
    }

    fn list<T>(&mut self, close: &str, item: impl Fn(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let mut items = Vec::new();
        if self.accept(close) {
            return Some(items);
        }
        loop {
            items.push(item(self)?);
            if !self.accept(",") {
                return self.accept(close).then(|| items);
            }
        }
    }

    fn digits(&mut self) -> bool {
        let rest = self.rest.trim_start_matches(|c: char| c.is_ascii_digit());
        let some = rest.len() < self.rest.len();
        self.rest = rest;
        some
    }

    fn number(&mut self) -> Option<String> {
        let from = self.rest;
        self.word("-");
        if !self.word("0") && !self.digits() || self.word(".") && !self.digits() {
            return None;
        }
        if self.word("e") || self.word("E") {
            let _ = self.word("+") || self.word("-");
            if !self.digits() {
                return None;
            }
        }
        Some(from[..from.len() - self.rest.len()].into())
    }

    fn hex(&mut self) -> Option<u32> {
        let digits = self.rest.get(..4)?;
        if !digits.bytes().all(|c| c.is_ascii_hexdigit()) {
            return None;
        }
        self.rest = &self.rest[4..];
        u32::from_str_radix(digits, 16).ok()
    }

    /// Reads a string's contents, after its opening quote.
    fn string(&mut self) -> Option<String> {
        let mut s = String::new();
        loop {
            let end = self.rest.find(|c: char| c == '"' || c == '\\' || c < ' ')?;
            s.push_str(&self.rest[..end]);
            let c = self.rest.as_bytes()[end];
            self.rest = &self.rest[end + 1..];
            match c {
                b'"' => return Some(s),
                b'\\' => s.push(self.escape()?),
                _ => return None,
            }
        }
    }

    fn escape(&mut self) -> Option<char> {
        let c = self.rest.chars().next()?;
        self.rest = &self.rest[c.len_utf8()..];
        Some(match c {
            '"' | '\\' | '/' => c,
            'b' => '\x08',
            'f' => '\x0c',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => {
                let mut v = self.hex()?;
                if v >> 10 == 0x36 && self.word("\\u") {
                    let low = self.hex()?;
                    if low >> 10 != 0x37 {
                        return None;
                    }
                    v = 0x10000 + ((v & 0x3ff) << 10 | (low & 0x3ff));
                }
                char::from_u32(v).unwrap_or(char::REPLACEMENT_CHARACTER)
            }
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_is_json() {
        let v = Json::parse(br#" {"a": [1, -0.5e+3, "x\n\u00e9\ud83d\ude00\/", true, null, {}], "a\"": [] , "n": 17} "#).unwrap();
        let a = v.get("a").unwrap().items();
        assert_eq!(a[1], Json::Number("-0.5e+3".into()));
        assert_eq!(a[2].str(), Some("x\n\u{e9}\u{1f600}/"));
        assert_eq!(a[3..], [Json::Bool(true), Json::Null, Json::Object(Vec::new())]);
        assert_eq!(v.get("a\"").unwrap().items(), []);
        assert_eq!((v.get("n").unwrap().number(), v.get("b")), (Some(17), None));
        assert_eq!((a[0].number(), a[1].number(), a[2].number()), (Some(1), None, None));
    }

    #[test]
    fn refuses_what_is_not() {
        let deep = "[".repeat(65) + &"]".repeat(65);
        assert!(Json::parse(deep[1..129].as_bytes()).is_some());
        for text in [
            "", "{", "[1,]", "{\"a\"}", "{\"a\":1,}", "01", "1.", "-", "1e", "\"\\x\"", "\"\\u12\"", "\"\\ud800\\u0041\"", "\"\n\"", "\"a", "nul", "1 2", "[1 2]",
            &deep,
        ] {
            assert!(Json::parse(text.as_bytes()).is_none(), "{}", text);
        }
        assert!(Json::parse(b"\"\xff\"").is_none());
    }
}
