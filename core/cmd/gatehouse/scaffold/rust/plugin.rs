//! Redacts a column and blocks a kind of statement.

use gatehouse::*;

// The configuration, which schema.json describes.
schema!("schema.json");

struct Settings {
    column: String,
    kind: String,
}

// The answers depend on facts alone, so that the gate may remember them.
impl Plugin for Settings {
    const HOOKS: u32 = REQUEST | HEAD | FACTS_ONLY;

    fn configure(config: &Config) -> Result<Self, String> {
        let text = |key| config.json.get(key).and_then(Json::str).unwrap_or_default().to_string();
        Ok(Settings { column: text("column"), kind: text("kind") })
    }

    fn request(&self, _: &Session, r: &Request) -> Verdict {
        if r.statements.iter().any(|st| st.kind == self.kind) {
            return Verdict::block("<<.Name>>/kind", format!("{} is not for agents", self.kind));
        }
        Verdict::allow()
    }

    fn head(&self, _: &Session, h: &Head) -> Vec<Treatment> {
        h.fields.iter().map(|f| match f.origins.iter().any(|o| *o == self.column) {
            true => Treatment::new(Kind::Redact, "<<.Name>>/column"),
            false => Treatment::new(Kind::Pass, ""),
        }).collect()
    }
}

plugin!(Settings);
