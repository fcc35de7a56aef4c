//! Redacts access keys: in text by looking at each value, in JSON by a detector
//! that the gate runs.

use gatehouse::*;

schema!("../schema.json");

struct DetectContent {
    prefixes: Vec<String>,
}

const RULE: &str = "detect-content";
const REST: usize = 8; // what follows a prefix at least

impl DetectContent {
    /// Returns how long the key is that v begins with.
    fn key(&self, v: &[u8]) -> Option<usize> {
        self.prefixes.iter().filter(|p| v.starts_with(p.as_bytes())).find_map(|p| {
            let rest = v[p.len()..].iter().take_while(|c| c.is_ascii_alphanumeric() || **c == b'_').count();
            (rest >= REST).then(|| p.len() + rest)
        })
    }
}

impl Plugin for DetectContent {
    const HOOKS: u32 = HEAD | ROWS;

    fn configure(config: &Config) -> Result<Self, String> {
        Ok(DetectContent { prefixes: config.json.get("prefixes").map_or(Vec::new(), Json::strings) })
    }

    fn detectors(&self) -> Vec<Detector> {
        let pattern = format!("(?:{})[A-Za-z0-9_]{{8,}}", self.prefixes.join("|"));
        vec![Detector { name: "key".into(), pattern }]
    }

    fn head(&self, _: &Session, h: &Head) -> Vec<Treatment> {
        let redact = |name: &str| Detect { name: name.into(), kind: Kind::Redact, keep: 0 };
        let treat = |f: &Field| match f.kind.0 {
            b"text" | b"varchar" | b"bpchar" => Treatment::new(Kind::Inspect, RULE),
            b"json" | b"jsonb" => {
                Treatment { detect: vec![redact("key"), redact("email")], ..Treatment::new(Kind::Detect, RULE) }
            }
            _ => Treatment::new(Kind::Pass, ""),
        };
        h.fields.iter().map(treat).collect()
    }

    fn rows(&self, b: &Batch, edits: &mut Vec<Edit>) {
        for row in 0..b.rows() {
            for field in 0..b.fields() {
                let v = b.cell(row, field).unwrap_or(b"");
                let mut from = 0;
                while from < v.len() {
                    match self.key(&v[from..]) {
                        Some(n) => {
                            edits.push(Edit { row, field, from, to: from + n, kind: Kind::Redact, ..Edit::default() });
                            from += n;
                        }
                        None => from += 1,
                    }
                }
            }
        }
    }
}

plugin!(DetectContent);
