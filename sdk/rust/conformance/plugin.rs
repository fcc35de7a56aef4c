//! The conformance guest in Rust: `../../conformance` says what one does.

use gatehouse::*;

struct Guest {
    answer: Option<Json>, // None: tell what was given
    how: String,          // to fail, empty where it does not
}

fn deeper(n: u64) -> Vec<u64> {
    let mut list = if n == 0 { Vec::new() } else { deeper(n + 1) };
    list.push(n);
    list
}

impl Guest {
    fn fail(&self) {
        match self.how.as_str() {
            "trap" => panic!("as it was told"),
            "outside" => assert!(self.how.as_bytes()[self.how.len()] > 0),
            "memory" => {
                let mut all = Vec::new();
                loop {
                    all.push(vec![1u8; 1 << 20]);
                }
            }
            "recursion" => assert!(deeper(1).is_empty()),
            "loop" => loop {},
            _ => {}
        }
    }
}

// Writing what it was given as JSON.

fn quoted(s: &[u8]) -> String {
    let mut q = String::from("\"");
    for c in String::from_utf8_lossy(s).chars() {
        match c {
            '"' | '\\' => q.extend(['\\', c]),
            c if c < ' ' => q += &format!("\\u{:04x}", c as u32),
            c => q.push(c),
        }
    }
    q + "\""
}

fn array(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(","))
}

fn texts(list: &[Text]) -> String {
    array(list.iter().map(|t| quoted(t)))
}

fn attrs(list: &[Attr]) -> String {
    array(list.iter().map(|a| object(&[("key", quoted(&a.key)), ("value", quoted(&a.value))])))
}

fn objects(list: &[Object]) -> String {
    array(list.iter().map(|o| object(&[("schema", quoted(&o.schema)), ("name", quoted(&o.name))])))
}

fn object(members: &[(&str, String)]) -> String {
    let members: Vec<_> = members.iter().map(|(name, value)| format!("\"{}\":{}", name, value)).collect();
    format!("{{{}}}", members.join(","))
}

fn session(s: &Session) -> String {
    let p = &s.principal;
    object(&[
        ("id", quoted(&s.id)),
        ("gate", quoted(&s.gate)),
        ("protocol", quoted(&s.protocol)),
        ("resource", quoted(&s.resource)),
        ("policy", quoted(&s.policy)),
        (
            "principal",
            object(&[
                ("issuer", quoted(&p.issuer)),
                ("subject", quoted(&p.subject)),
                ("name", quoted(&p.name)),
                ("groups", texts(&p.groups)),
                ("expires", p.expires.unwrap_or(0).to_string()),
            ]),
        ),
        ("client", quoted(&s.client)),
        ("start", s.start.to_string()),
        ("attrs", attrs(&s.attrs)),
    ])
}

fn statement(s: &Statement) -> String {
    object(&[
        ("kind", quoted(&s.kind)),
        ("parent", s.parent.map_or(0, |i| i + 1).to_string()),
        ("within", quoted(&s.within)),
        ("runs", s.runs.to_string()),
        ("writes", objects(&s.writes)),
        ("reads", objects(&s.reads)),
        ("columns", texts(&s.columns)),
        ("functions", texts(&s.functions)),
        ("settings", texts(&s.settings)),
        ("names", texts(&s.names)),
        ("options", texts(&s.options)),
        ("scope", (s.scope as u8).to_string()),
        ("opaque", s.opaque.to_string()),
        ("operators", texts(&s.operators)),
        ("types", texts(&s.types)),
        ("predicates", texts(&s.predicates)),
    ])
}

fn value(v: &Option<&[u8]>) -> String {
    v.map_or("null".into(), quoted)
}

fn request(r: &Request) -> String {
    let cut = |c: &Cut| object(&[("param", c.param.to_string()), ("size", c.size.to_string()), ("digest", quoted(c.digest))]);
    object(&[
        ("operation", quoted(&r.operation)),
        ("payload", quoted(r.payload)),
        ("params", array(r.params.iter().map(value))),
        ("statements", array(r.statements.iter().map(statement))),
        ("labels", attrs(&r.labels)),
        ("attrs", attrs(&r.attrs)),
        ("cut", array(r.cut.iter().map(cut))),
        ("masked", texts(&r.masked)),
    ])
}

fn head(h: &Head) -> String {
    let field = |f: &Field| {
        object(&[
            ("name", quoted(&f.name)),
            ("type", quoted(&f.kind)),
            ("origins", texts(&f.origins)),
            ("lineage", (f.lineage as u8).to_string()),
        ])
    };
    object(&[("fields", array(h.fields.iter().map(field))), ("attrs", attrs(&h.attrs))])
}

fn batch(b: &Batch, first: (&str, String)) -> String {
    let row = |i| array((0..b.fields()).map(|j| value(&b.cell(i, j))));
    object(&[
        first,
        ("state", quoted(b.state)),
        ("head", head(&b.head)),
        ("shape", object(&[("rows", b.rows().to_string()), ("fields", b.fields().to_string())])),
        ("values", array((0..b.rows()).map(row))),
    ])
}

fn told(s: &Session, name: &str, more: String) -> String {
    object(&[("session", session(s)), ("state", quoted(s.state)), (name, more)])
}

// Reading the answer that it is to give.

fn text(o: &Json, name: &str) -> String {
    o.get(name).and_then(Json::str).unwrap_or("").into()
}

fn number(o: &Json, name: &str) -> usize {
    o.get(name).and_then(Json::number).unwrap_or(0) as usize
}

fn items<'a>(o: &'a Json, name: &str) -> &'a [Json] {
    o.get(name).map_or(&[], Json::items)
}

fn labels(o: &Json) -> Vec<Label> {
    items(o, "labels").iter().map(|l| (text(l, "key"), text(l, "value"))).collect()
}

fn kind(o: &Json) -> Kind {
    use Kind::*;
    [Null, Redact, Hash, KeepLast, Replace, Inspect, Pass, Fake, Detect][number(o, "kind")]
}

fn verdict(answer: &Json) -> Verdict {
    let o = answer.get("verdict").unwrap_or(&Json::Null);
    let action = [Action::Block, Action::Hold, Action::Allow][number(o, "action")];
    Verdict { action, rule: text(o, "rule"), reason: text(o, "reason"), labels: labels(o) }
}

fn treatment(o: &Json) -> Treatment {
    let detect = |d: &Json| Detect { name: text(d, "name"), kind: kind(d), keep: number(d, "keep") as u8 };
    Treatment {
        kind: kind(o),
        keep: number(o, "keep") as u8,
        rule: text(o, "rule"),
        detect: items(o, "detect").iter().map(detect).collect(),
    }
}

fn edit(o: &Json) -> Edit {
    Edit {
        row: number(o, "row"),
        field: number(o, "field"),
        from: number(o, "from"),
        to: number(o, "to"),
        kind: kind(o),
        keep: number(o, "keep") as u8,
        text: text(o, "text").into_bytes(),
    }
}

fn note(answer: &Json) -> Option<Note> {
    answer.get("note").map(|o| Note { text: text(o, "text"), labels: labels(o) })
}

impl Plugin for Guest {
    const HOOKS: u32 = OPEN | REQUEST | HEAD | ROWS | UPLOAD | END | CLOSE;

    fn configure(config: &Config) -> Result<Self, String> {
        let answer = config.json.get("answer").cloned();
        let problem = answer.as_ref().map_or(String::new(), |a| text(a, "problem"));
        if !problem.is_empty() {
            return Err(problem);
        }
        let how = text(&config.json, "fail");
        if !how.is_empty() {
            return Ok(Guest { answer, how });
        }
        if answer.is_none() && config.json != Json::Object(Vec::new()) {
            let host = object(&[("version", config.version.to_string())]);
            return Err(object(&[("config", quoted(config.text)), ("host", host)]));
        }
        Ok(Guest { answer, how })
    }

    fn detectors(&self) -> Vec<Detector> {
        let list = self.answer.as_ref().and_then(|a| a.get("detectors"));
        let list = list.map_or(&[][..], |d| items(d, "detectors"));
        list.iter().map(|d| Detector { name: text(d, "name"), pattern: text(d, "pattern") }).collect()
    }

    fn open(&self, s: &Session) -> Vec<u8> {
        self.fail();
        match &self.answer {
            Some(answer) => text(answer, "state").into_bytes(),
            None => object(&[("session", session(s))]).into_bytes(),
        }
    }

    fn request(&self, s: &Session, r: &Request) -> Verdict {
        self.fail();
        match &self.answer {
            Some(answer) => verdict(answer),
            None => Verdict { reason: told(s, "request", request(r)), ..Verdict::allow() },
        }
    }

    fn head(&self, s: &Session, h: &Head) -> Vec<Treatment> {
        self.fail();
        if let Some(answer) = &self.answer {
            return answer.get("treatments").map_or(&[][..], |t| items(t, "treatments")).iter().map(treatment).collect();
        }
        let mut ts = vec![Treatment::new(Kind::Pass, ""); h.fields.len()];
        ts[0].rule = told(s, "head", head(h));
        ts
    }

    fn rows(&self, b: &Batch, edits: &mut Vec<Edit>) {
        self.fail();
        match &self.answer {
            Some(answer) => edits.extend(items(answer, "edits").iter().map(edit)),
            None => edits.push(Edit {
                kind: Kind::Replace,
                text: batch(b, ("session", "{}".into())).into_bytes(),
                ..Edit::default()
            }),
        }
    }

    fn upload(&self, s: &Session, b: &Batch) -> Verdict {
        self.fail();
        match &self.answer {
            Some(answer) => verdict(answer),
            None => Verdict { reason: batch(b, ("session", session(s))), ..Verdict::allow() },
        }
    }

    fn end(&self, s: &Session, o: &Outcome) -> Option<Note> {
        self.fail();
        if let Some(answer) = &self.answer {
            return note(answer);
        }
        let outcome = object(&[
            ("status", quoted(&o.status)),
            ("tag", quoted(&o.tag)),
            ("code", quoted(&o.code)),
            ("rows", o.rows.to_string()),
        ]);
        Some(Note { text: told(s, "outcome", outcome), ..Note::default() })
    }

    fn close(&self, s: &Session) -> Option<Note> {
        self.fail();
        match &self.answer {
            Some(answer) => note(answer),
            None => Some(Note { text: told(s, "outcome", "{}".into()), ..Note::default() }),
        }
    }
}

plugin!(Guest);
