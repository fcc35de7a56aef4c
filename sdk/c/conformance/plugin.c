// The conformance guest in C: ../../conformance says what one does.

#include "../gatehouse.h"

// Writing what it was given as JSON.

static char *json_at;
static size_t json_len;
static const size_t json_most = 1 << 20;

static void raw(gh_text s) {
	if (s.len > json_most - json_len) __builtin_trap();
	__builtin_memcpy(json_at + json_len, s.at, s.len);
	json_len += s.len;
}

static void start(void) {
	json_at = gh_alloc(json_most);
	json_len = 0;
}

static gh_text written(void) { return (gh_text){json_at, json_len}; }

static void string(gh_text s) {
	raw(GH("\""));
	for (size_t i = 0; i < s.len; i++) {
		uint8_t c = s.at[i];
		if (c < ' ' || c == '"' || c == '\\') {
			char u[] = {'\\', 'u', '0', '0', '0' + (c >> 4), "0123456789abcdef"[c & 15]};
			raw((gh_text){u, 6});
		} else {
			raw((gh_text){s.at + i, 1});
		}
	}
	raw(GH("\""));
}

static void comma(void) {
	char last = json_at[json_len - 1];
	if (last != '{' && last != '[') raw(GH(","));
}

static void key(gh_text name) {
	comma();
	string(name);
	raw(GH(":"));
}

static void text(gh_text name, gh_text v) {
	if (!v.len) return;
	key(name);
	string(v);
}

static void number(gh_text name, int64_t v) {
	if (!v) return;
	key(name);
	if (v < 0) raw(GH("-"));
	raw(gh_decimal(v < 0 ? -(uint64_t)v : (uint64_t)v));
}

static void flag(gh_text name, bool v) {
	if (!v) return;
	key(name);
	raw(GH("true"));
}

// LIST writes a list, if it is not empty: `item` is what writes its item i.
#define LIST(name, l, item) \
	if ((l).len) { \
		key(GH(name)); \
		raw(GH("[")); \
		for (size_t i = 0; i < (l).len; i++) { comma(); item; } \
		raw(GH("]")); \
	}

#define OBJECT(...) do { raw(GH("{")); __VA_ARGS__ raw(GH("}")); } while (0)

static void attr(gh_attr a) { OBJECT(text(GH("key"), a.key); text(GH("value"), a.value);); }

static void object(gh_object o) { OBJECT(text(GH("schema"), o.schema); text(GH("name"), o.name);); }

static void session(const gh_session *s) {
	const gh_principal *p = &s->principal;
	key(GH("session"));
	OBJECT(
		text(GH("id"), s->id);
		text(GH("gate"), s->gate);
		text(GH("protocol"), s->protocol);
		text(GH("resource"), s->resource);
		text(GH("policy"), s->policy);
		key(GH("principal"));
		OBJECT(
			text(GH("issuer"), p->issuer);
			text(GH("subject"), p->subject);
			text(GH("name"), p->name);
			LIST("groups", p->groups, string(p->groups.at[i]))
			number(GH("expires"), p->expires);
		);
		text(GH("client"), s->client);
		number(GH("start"), s->start);
		LIST("attrs", s->attrs, attr(s->attrs.at[i]))
	);
	text(GH("state"), s->state);
}

static void statement(const gh_statement *s) {
	OBJECT(
		text(GH("kind"), s->kind);
		number(GH("parent"), s->parent + 1);
		text(GH("within"), s->within);
		flag(GH("runs"), s->runs);
		LIST("writes", s->writes, object(s->writes.at[i]))
		LIST("reads", s->reads, object(s->reads.at[i]))
		LIST("columns", s->columns, string(s->columns.at[i]))
		LIST("functions", s->functions, string(s->functions.at[i]))
		LIST("settings", s->settings, string(s->settings.at[i]))
		LIST("names", s->names, string(s->names.at[i]))
		LIST("options", s->options, string(s->options.at[i]))
		number(GH("scope"), s->scope);
		flag(GH("opaque"), s->opaque);
		LIST("operators", s->operators, string(s->operators.at[i]))
		LIST("types", s->types, string(s->types.at[i]))
		LIST("predicates", s->predicates, string(s->predicates.at[i]))
	);
}

static void param(gh_param p) {
	if (p.null) raw(GH("null"));
	else string(p.value);
}

static void cut(gh_cut c) {
	OBJECT(
		number(GH("param"), c.param);
		number(GH("size"), c.size);
		text(GH("digest"), c.digest);
	);
}

static void request(const gh_request *r) {
	key(GH("request"));
	OBJECT(
		text(GH("operation"), r->operation);
		text(GH("payload"), r->payload);
		LIST("params", r->params, param(r->params.at[i]))
		LIST("statements", r->statements, statement(&r->statements.at[i]))
		LIST("labels", r->labels, attr(r->labels.at[i]))
		LIST("attrs", r->attrs, attr(r->attrs.at[i]))
		LIST("cut", r->cut, cut(r->cut.at[i]))
		LIST("masked", r->masked, string(r->masked.at[i]))
	);
}

static void field(const gh_field *f) {
	OBJECT(
		text(GH("name"), f->name);
		text(GH("type"), f->type);
		LIST("origins", f->origins, string(f->origins.at[i]))
		number(GH("lineage"), f->lineage);
	);
}

static void head(const gh_head *h) {
	key(GH("head"));
	OBJECT(
		LIST("fields", h->fields, field(&h->fields.at[i]))
		LIST("attrs", h->attrs, attr(h->attrs.at[i]))
	);
}

static void batch(const gh_batch *b) {
	head(&b->head);
	key(GH("shape"));
	OBJECT(number(GH("rows"), b->rows); number(GH("fields"), b->fields););
	key(GH("values"));
	raw(GH("["));
	for (uint32_t i = 0; i < b->rows; i++) {
		comma();
		raw(GH("["));
		for (uint32_t j = 0; j < b->fields; j++) {
			comma();
			param((gh_param){gh_cell(b, i, j), gh_is_null(b, i, j)});
		}
		raw(GH("]"));
	}
	raw(GH("]"));
}

// Reading the answer that it is to give.

static const gh_json *answer; // NULL: tell what was given

static gh_text text_of(const gh_json *o, gh_text name) { return gh_json_text(gh_json_get(o, name), (gh_text){0}); }

static uint64_t number_of(const gh_json *o, gh_text name) { return gh_json_number(gh_json_get(o, name), 0); }

static size_t count(const gh_json *list) {
	size_t n = 0;
	if (list)
		for (const gh_json *i = list->child; i; i = i->next) n++;
	return n;
}

static gh_attrs labels_of(const gh_json *o) {
	const gh_json *list = gh_json_get(o, GH("labels"));
	gh_attr *at = gh_alloc(count(list) * sizeof *at);
	size_t n = 0;
	if (list)
		for (const gh_json *i = list->child; i; i = i->next) at[n++] = (gh_attr){text_of(i, GH("key")), text_of(i, GH("value"))};
	return (gh_attrs){at, n};
}

static gh_verdict verdict_of(const gh_json *o) {
	return (gh_verdict){number_of(o, GH("action")), text_of(o, GH("rule")), text_of(o, GH("reason")), labels_of(o)};
}

static gh_treatment treatment_of(const gh_json *o) {
	gh_treatment t = {.kind = number_of(o, GH("kind")), .keep = number_of(o, GH("keep")), .rule = text_of(o, GH("rule"))};
	const gh_json *list = gh_json_get(o, GH("detect"));
	gh_detect *at = gh_alloc(count(list) * sizeof *at);
	t.detect.at = at;
	if (list)
		for (const gh_json *i = list->child; i; i = i->next)
			at[t.detect.len++] = (gh_detect){text_of(i, GH("name")), number_of(i, GH("kind")), number_of(i, GH("keep"))};
	return t;
}

static bool note_of(const gh_json *o, gh_note *n) {
	n->text = text_of(o, GH("text"));
	n->labels = labels_of(o);
	return o;
}

// Failing.

static gh_text how; // to fail, empty where it does not

static uint32_t deeper(volatile uint32_t n) { return n ? deeper(n + 1) + n : 0; }

static void fail(void) {
	volatile uint32_t turns = 1;
	if (gh_equal(how, GH("trap"))) __builtin_trap();
	if (gh_equal(how, GH("outside"))) turns = *(volatile uint32_t *)0xfffffff0;
	if (gh_equal(how, GH("memory"))) for (;;) gh_alloc(1 << 20);
	if (gh_equal(how, GH("recursion"))) turns = deeper(1);
	if (gh_equal(how, GH("loop"))) for (;;) turns++;
}

// The hooks.

static gh_text configure(gh_text config, uint32_t version, gh_detectors *detectors) {
	const gh_json *c = gh_json_parse(config);
	answer = gh_json_get(c, GH("answer"));
	how = gh_json_text(gh_json_get(c, GH("fail")), (gh_text){0});
	if (how.len) return (gh_text){0};
	if (answer) {
		const gh_json *list = gh_json_get(gh_json_get(answer, GH("detectors")), GH("detectors"));
		gh_detector *at = gh_alloc(count(list) * sizeof *at);
		detectors->at = at;
		if (list)
			for (const gh_json *i = list->child; i; i = i->next)
				at[detectors->len++] = (gh_detector){text_of(i, GH("name")), text_of(i, GH("pattern"))};
		return text_of(answer, GH("problem"));
	}
	if (!c || (c->kind == GH_JSON_OBJECT && !c->child)) return c ? (gh_text){0} : GH("the configuration is no JSON");
	start();
	OBJECT(
		text(GH("config"), config);
		key(GH("host"));
		OBJECT(number(GH("version"), version););
	);
	return written();
}

static gh_text open_session(const gh_session *s) {
	fail();
	if (answer) return text_of(answer, GH("state"));
	start();
	OBJECT(session(s););
	return written();
}

static gh_verdict judge(const gh_session *s, const gh_request *r) {
	fail();
	if (answer) return verdict_of(gh_json_get(answer, GH("verdict")));
	start();
	OBJECT(session(s); request(r););
	return (gh_verdict){.action = GH_ALLOW, .reason = written()};
}

static void treat(const gh_session *s, const gh_head *h, gh_treatment *ts) {
	fail();
	if (answer) {
		const gh_json *i = gh_json_get(gh_json_get(answer, GH("treatments")), GH("treatments"));
		for (i = i ? i->child : NULL; i; i = i->next) *ts++ = treatment_of(i);
		return;
	}
	start();
	OBJECT(session(s); head(h););
	for (size_t i = 0; i < h->fields.len; i++) ts[i].kind = GH_PASS;
	ts[0].rule = written();
}

static void inspect(gh_batch *b) {
	fail();
	if (answer) {
		const gh_json *i = gh_json_get(answer, GH("edits"));
		for (i = i ? i->child : NULL; i; i = i->next)
			gh_add(b, (gh_edit){
				number_of(i, GH("row")), number_of(i, GH("field")), number_of(i, GH("from")), number_of(i, GH("to")),
				number_of(i, GH("kind")), number_of(i, GH("keep")), text_of(i, GH("text")),
			});
		return;
	}
	start();
	OBJECT(text(GH("state"), b->state); batch(b););
	gh_add(b, (gh_edit){.kind = GH_REPLACE, .text = written()});
}

static gh_verdict judge_upload(const gh_session *s, gh_batch *b) {
	fail();
	if (answer) return verdict_of(gh_json_get(answer, GH("verdict")));
	start();
	OBJECT(session(s); batch(b););
	return (gh_verdict){.action = GH_ALLOW, .reason = written()};
}

static bool end(const gh_session *s, const gh_outcome *o, gh_note *n) {
	fail();
	if (answer) return note_of(gh_json_get(answer, GH("note")), n);
	start();
	OBJECT(
		session(s);
		key(GH("outcome"));
		OBJECT(
			text(GH("status"), o->status);
			text(GH("tag"), o->tag);
			text(GH("code"), o->code);
			number(GH("rows"), o->rows);
		);
	);
	n->text = written();
	return true;
}

static bool close_session(const gh_session *s, gh_note *n) {
	fail();
	if (answer) return note_of(gh_json_get(answer, GH("note")), n);
	start();
	OBJECT(session(s););
	n->text = written();
	return true;
}

const gh_plugin gatehouse = {
	.configure = configure,
	.open = open_session,
	.request = judge,
	.head = treat,
	.rows = inspect,
	.upload = judge_upload,
	.end = end,
	.close = close_session,
};
