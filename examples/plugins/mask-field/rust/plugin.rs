//! Masks the fields that come from configured columns.

use gatehouse::*;

schema!("../schema.json");

struct MaskField {
    columns: Vec<String>,
    keep: u8,
}

impl MaskField {
    fn treat(&self, f: &Field) -> Treatment {
        if matches!(f.lineage, Lineage::Clean | Lineage::Filtered) {
            return Treatment::new(Kind::Pass, "");
        }
        if let Some(column) = f.origins.iter().find(|o| self.columns.iter().any(|c| *o == c)) {
            let rule = format!("mask-field/{}", column);
            if f.lineage != Lineage::Exact {
                return Treatment::new(Kind::Redact, rule);
            }
            return Treatment { keep: self.keep, ..Treatment::new(Kind::KeepLast, rule) };
        }
        if f.lineage == Lineage::Unknown && f.origins.is_empty() {
            return Treatment::new(Kind::Redact, "mask-field/unknown");
        }
        Treatment::new(Kind::Pass, "")
    }
}

impl Plugin for MaskField {
    const HOOKS: u32 = HEAD | FACTS_ONLY;

    fn configure(config: &Config) -> Result<Self, String> {
        Ok(MaskField {
            columns: config.json.get("columns").map_or(Vec::new(), Json::strings),
            keep: config.json.get("keep").and_then(Json::number).unwrap_or(4) as u8,
        })
    }

    fn head(&self, _: &Session, h: &Head) -> Vec<Treatment> {
        h.fields.iter().map(|f| self.treat(f)).collect()
    }
}

plugin!(MaskField);
