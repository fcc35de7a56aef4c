#include "gatehouse.h"

// Memory. It grows from the end of the data on and is never freed but by going
// back to where it was: `base` after configure, and after buffers.

extern char __heap_base;

static size_t top, base;

// grow makes n more bytes at the top.
static char *grow(size_t n) {
	const size_t page = 64 << 10;
	size_t at = top, have = __builtin_wasm_memory_size(0) * page;
	if (n > SIZE_MAX / 2 - at) __builtin_trap();
	top = at + n;
	if (top > have && __builtin_wasm_memory_grow(0, (top - have + page - 1) / page) == SIZE_MAX) __builtin_trap();
	return (char *)at;
}

static void *take(size_t n) {
	if (!top) top = base = (size_t)&__heap_base;
	top = (top + 7) & ~(size_t)7;
	return grow(n);
}

void *gh_alloc(size_t n) { return __builtin_memset(take(n), 0, n); }

int memcmp(const void *a, const void *b, size_t n) {
	const unsigned char *x = a, *y = b;
	for (; n; x++, y++, n--)
		if (*x != *y) return *x - *y;
	return 0;
}

bool gh_equal(gh_text a, gh_text b) { return a.len == b.len && !memcmp(a.at, b.at, a.len); }

bool gh_has_prefix(gh_text s, gh_text p) { return s.len >= p.len && !memcmp(s.at, p.at, p.len); }

bool gh_contains(gh_texts list, gh_text s) {
	for (size_t i = 0; i < list.len; i++)
		if (gh_equal(list.at[i], s)) return true;
	return false;
}

gh_text gh_concat(size_t n, const gh_text *parts) {
	size_t len = 0;
	for (size_t i = 0; i < n; i++) len += parts[i].len;
	char *at = take(len), *p = at;
	for (size_t i = 0; i < n; p += parts[i++].len) __builtin_memcpy(p, parts[i].at, parts[i].len);
	return (gh_text){at, len};
}

gh_text gh_decimal(uint64_t n) {
	char *end = (char *)take(20) + 20, *p = end;
	do *--p = '0' + n % 10;
	while (n /= 10);
	return (gh_text){p, end - p};
}

// Reading. What is malformed sets `bad`, and the call fails.

static bool bad;

static uint64_t leb(gh_text *s) {
	uint64_t v = 0;
	for (unsigned shift = 0; s->len; shift += 7) {
		uint8_t c = *s->at++;
		s->len--;
		if (shift == 63 && c > 1) break;
		v |= (uint64_t)(c & 127) << shift;
		if (c < 128) return v;
	}
	bad = true;
	s->len = 0;
	return 0;
}

// next reads one element of s, if there is one.
static bool next(gh_text *s, uint64_t *tag, gh_text *v) {
	if (!s->len) return false;
	*tag = leb(s);
	uint64_t len = leb(s);
	if (bad || len > s->len) return !(bad = true);
	*v = (gh_text){s->at, len};
	s->at += len;
	s->len -= len;
	return true;
}

static uint64_t number(gh_text v) {
	uint64_t n = leb(&v);
	if (v.len) bad = true;
	return n;
}

// enumeration takes what it does not know for 0.
static uint8_t enumeration(gh_text v, uint8_t most) {
	uint64_t n = number(v);
	return n > most ? 0 : n;
}

// list allocates the items of a list for which s has the tag.
static void *list(gh_text s, uint64_t want, size_t size) {
	size_t n = 0;
	uint64_t tag;
	for (gh_text v; next(&s, &tag, &v);) n += tag == want;
	return gh_alloc(n * size);
}

// ADD adds an item to a list of the structure that is being read. The first one
// allocates the memory of all.
#define ADD(type, l, value) do { \
	if (!(l).len) (l).at = list(all, tag, sizeof(type)); \
	((type *)(l).at)[(l).len++] = value; \
} while (0)
#define ELEMENTS uint64_t tag; for (gh_text v, all __attribute__((unused)) = s; next(&s, &tag, &v);) switch (tag)

static gh_attr read_attr(gh_text s) {
	gh_attr a = {0};
	ELEMENTS {
	case 1: a.key = v; break;
	case 2: a.value = v; break;
	}
	return a;
}

static gh_object read_object(gh_text s) {
	gh_attr a = read_attr(s);
	return (gh_object){a.key, a.value};
}

#define ADD_TEXT(l) ADD(gh_text, l, v)
#define ADD_ATTR(l) ADD(gh_attr, l, read_attr(v))
#define ADD_OBJECT(l) ADD(gh_object, l, read_object(v))

static gh_principal read_principal(gh_text s) {
	gh_principal p = {0};
	ELEMENTS {
	case 1: p.issuer = v; break;
	case 2: p.subject = v; break;
	case 3: p.name = v; break;
	case 4: ADD_TEXT(p.groups); break;
	case 5: p.expires = number(v); break;
	}
	return p;
}

static gh_session read_session(gh_text s) {
	gh_session x = {0};
	ELEMENTS {
	case 1: x.id = v; break;
	case 2: x.gate = v; break;
	case 3: x.protocol = v; break;
	case 4: x.resource = v; break;
	case 5: x.policy = v; break;
	case 6: x.principal = read_principal(v); break;
	case 7: x.client = v; break;
	case 8: x.start = number(v); break;
	case 9: ADD_ATTR(x.attrs); break;
	}
	return x;
}

static gh_statement read_statement(gh_text s) {
	gh_statement x = {.parent = -1};
	ELEMENTS {
	case 1: x.kind = v; break;
	case 2: x.parent = (int64_t)number(v) - 1; break;
	case 3: x.within = v; break;
	case 4: x.runs = number(v); break;
	case 5: ADD_OBJECT(x.writes); break;
	case 6: ADD_OBJECT(x.reads); break;
	case 7: ADD_TEXT(x.columns); break;
	case 8: ADD_TEXT(x.functions); break;
	case 9: ADD_TEXT(x.settings); break;
	case 10: ADD_TEXT(x.names); break;
	case 11: ADD_TEXT(x.options); break;
	case 12: x.scope = enumeration(v, GH_SCOPE_RESTRICTED); break;
	case 13: x.opaque = number(v); break;
	case 14: ADD_TEXT(x.operators); break;
	case 15: ADD_TEXT(x.types); break;
	case 16: ADD_TEXT(x.predicates); break;
	}
	return x;
}

static gh_param read_param(gh_text s) {
	return s.len ? (gh_param){{s.at + 1, s.len - 1}, false} : (gh_param){{0}, true};
}

static gh_cut read_cut(gh_text s) {
	gh_cut c = {0};
	ELEMENTS {
	case 1: c.param = number(v); break;
	case 2: c.size = number(v); break;
	case 3: c.digest = v; break;
	}
	return c;
}

static gh_request read_request(gh_text s) {
	gh_request r = {0};
	ELEMENTS {
	case 1: r.operation = v; break;
	case 2: r.payload = v; break;
	case 3: ADD(gh_param, r.params, read_param(v)); break;
	case 4: ADD(gh_statement, r.statements, read_statement(v)); break;
	case 5: ADD_ATTR(r.labels); break;
	case 6: ADD_ATTR(r.attrs); break;
	case 7: ADD(gh_cut, r.cut, read_cut(v)); break;
	case 8: ADD_TEXT(r.masked); break;
	}
	return r;
}

static gh_field read_field(gh_text s) {
	gh_field f = {0};
	ELEMENTS {
	case 1: f.name = v; break;
	case 2: f.type = v; break;
	case 3: ADD_TEXT(f.origins); break;
	case 4: f.lineage = enumeration(v, GH_LINEAGE_CLEAN); break;
	}
	return f;
}

static gh_head read_head(gh_text s) {
	gh_head h = {0};
	ELEMENTS {
	case 1: ADD(gh_field, h.fields, read_field(v)); break;
	case 2: ADD_ATTR(h.attrs); break;
	}
	return h;
}

static gh_outcome read_outcome(gh_text s) {
	gh_outcome o = {0};
	ELEMENTS {
	case 1: o.status = v; break;
	case 2: o.tag = v; break;
	case 3: o.code = v; break;
	case 4: o.rows = number(v); break;
	}
	return o;
}

static uint32_t read_version(gh_text s) {
	uint32_t version = 0;
	ELEMENTS {
	case 1: version = number(v);
	}
	return version;
}

// Messages.

enum {
	SESSION = 1, STATE, REQUEST, HEAD, OUTCOME, CONFIG, HOST, SHAPE, OFFSETS, NULLS, VALUES, INPUTS,
	PROBLEM = 32, DETECTORS, VERDICT, TREATMENTS, EDITS, TEXTS, NOTE,
};

static char *buffer_at;
static size_t buffer_len;
static gh_text in[INPUTS];

// read_message sets `in` to the sections of the input.
static void read_message(size_t n) {
	__builtin_memset(in, 0, sizeof in);
	bad = n > buffer_len;
	for (size_t at = 0; at < n && !bad;) {
		const uint32_t *header = (const uint32_t *)(buffer_at + at);
		if (n - at < 8 || header[1] > n - at - 8) {
			bad = true;
			break;
		}
		if (header[0] < INPUTS) in[header[0]] = (gh_text){buffer_at + at + 8, header[1]};
		size_t size = ((size_t)header[1] + 3) & ~(size_t)3;
		at += 8 + size;
	}
	if (top) top = base;
}

static gh_session session_of(void) {
	gh_session s = read_session(in[SESSION]);
	s.state = in[STATE];
	return s;
}

static gh_batch read_batch(void) {
	gh_batch b = {.head = read_head(in[HEAD]), .state = in[STATE]};
	if (in[SHAPE].len != 8) return bad = true, b;
	const uint32_t *shape = (const uint32_t *)in[SHAPE].at;
	uint64_t cells = (uint64_t)shape[0] * shape[1];
	if (in[OFFSETS].len / 4 != cells + 1 || in[NULLS].len / 4 != (cells + 31) / 32) return bad = true, b;
	b.rows = shape[0];
	b.fields = shape[1];
	b.offsets = (const uint32_t *)in[OFFSETS].at;
	b.nulls = (const uint32_t *)in[NULLS].at;
	b.values = in[VALUES].at;
	uint32_t last = 0;
	for (uint64_t k = 0; k <= cells; k++) {
		if (b.offsets[k] < last) bad = true;
		last = b.offsets[k];
	}
	if (last > in[VALUES].len) bad = true;
	return b;
}

// Writing. The answer is the last thing in memory, and grows there.

static size_t answer; // where it begins

static void begin(void) {
	take(0);
	answer = top;
}

static int64_t done(void) { return bad ? -1 : (int64_t)((uint64_t)answer << 32 | (top - answer)); }

static void put(gh_text v) { __builtin_memcpy(grow(v.len), v.at, v.len); }

static void put_u32(uint32_t v) { *(uint32_t *)grow(4) = v; }

// section writes the header of a section, whose contents follow, up to
// end_section.
static size_t section(uint32_t tag) {
	put_u32(tag);
	put_u32(0);
	return top;
}

static void end_section(size_t at) {
	((uint32_t *)at)[-1] = top - at;
	size_t pad = -(top - at) & 3;
	__builtin_memset(grow(pad), 0, pad);
}

static void put_section(uint32_t tag, gh_text v) {
	size_t at = section(tag);
	put(v);
	end_section(at);
}

static size_t to_leb(uint8_t *p, uint64_t v) {
	size_t n = 0;
	for (; v > 127; v >>= 7) p[n++] = v | 128;
	p[n++] = v;
	return n;
}

static void put_leb(uint64_t v) {
	uint8_t b[10];
	put((gh_text){(char *)b, to_leb(b, v)});
}

// structure writes the tag of an element, whose contents follow, up to
// end_structure.
static size_t structure(uint64_t tag) {
	put_leb(tag);
	return top;
}

static void end_structure(size_t at) {
	uint8_t b[10];
	size_t len = top - at, n = to_leb(b, len);
	grow(n);
	__builtin_memmove((char *)at + n, (char *)at, len);
	__builtin_memcpy((char *)at, b, n);
}

static void put_text(uint64_t tag, gh_text v) {
	if (!v.len) return;
	put_leb(tag);
	put_leb(v.len);
	put(v);
}

static void put_number(uint64_t tag, uint64_t v) {
	size_t at = structure(tag);
	put_leb(v);
	end_structure(at);
}

static void put_attrs(uint64_t tag, gh_attrs l) {
	for (size_t i = 0; i < l.len; i++) {
		size_t at = structure(tag);
		put_text(1, l.at[i].key);
		put_text(2, l.at[i].value);
		end_structure(at);
	}
}

static int64_t put_verdict(gh_verdict v) {
	begin();
	size_t at = section(VERDICT);
	put_number(1, v.action);
	put_text(2, v.rule);
	put_text(3, v.reason);
	put_attrs(4, v.labels);
	end_section(at);
	return done();
}

static int64_t put_note(bool is, gh_note n) {
	begin();
	if (!is) return done();
	size_t at = section(NOTE);
	put_text(1, n.text);
	put_attrs(2, n.labels);
	end_section(at);
	return done();
}

static void put_treatment(gh_treatment t) {
	size_t at = structure(1);
	put_number(1, t.kind);
	if (t.keep) put_number(2, t.keep);
	put_text(3, t.rule);
	for (size_t i = 0; i < t.detect.len; i++) {
		gh_detect d = t.detect.at[i];
		size_t inner = structure(4);
		put_text(1, d.name);
		put_number(2, d.kind);
		if (d.keep) put_number(3, d.keep);
		end_structure(inner);
	}
	end_structure(at);
}

static int64_t put_edits(const gh_batch *b) {
	begin();
	if (!b->edits.len) return done();
	size_t at = section(EDITS), text = 0;
	for (size_t i = 0; i < b->edits.len; i++) {
		gh_edit e = b->edits.at[i];
		put_u32(e.row);
		put_u32(e.field);
		put_u32(e.from);
		put_u32(e.to);
		put_u32(e.kind | e.keep << 8);
		put_u32(e.text.len ? text : 0);
		put_u32(e.text.len);
		text += e.text.len;
	}
	end_section(at);
	if (!text) return done();
	at = section(TEXTS);
	for (size_t i = 0; i < b->edits.len; i++) put(b->edits.at[i].text);
	end_section(at);
	return done();
}

void gh_add(gh_batch *b, gh_edit e) {
	if (b->edits.len == b->edits.cap) {
		gh_edit *old = b->edits.at;
		b->edits.cap = b->edits.cap ? 2 * b->edits.cap : 64;
		b->edits.at = take(b->edits.cap * sizeof e);
		__builtin_memcpy(b->edits.at, old, b->edits.len * sizeof e);
	}
	b->edits.at[b->edits.len++] = e;
}

#define WASI(name) __attribute__((import_module("wasi_snapshot_preview1"), import_name(#name)))

WASI(clock_time_get) uint32_t clock_time_get(uint32_t id, uint64_t precision, int64_t *time);
WASI(random_get) uint32_t random_get(uint64_t *to, size_t n);

int64_t gh_now(void) {
	int64_t time;
	if (clock_time_get(0, 1, &time)) __builtin_trap();
	return time;
}

uint64_t gh_random(void) {
	uint64_t n;
	if (random_get(&n, sizeof n)) __builtin_trap();
	return n;
}

// Exports.

#define EXPORT(name) __attribute__((export_name(#name)))

EXPORT(abi_version) int32_t abi_version(void) { return 1 << 16; }

EXPORT(hooks) int32_t hooks(void) {
	return !!gatehouse.configure | !!gatehouse.open << 1 | !!gatehouse.request << 2 | !!gatehouse.head << 3 |
		!!gatehouse.rows << 4 | !!gatehouse.upload << 5 | !!gatehouse.end << 6 | !!gatehouse.close << 7 |
		gatehouse.facts_only << 16 | gatehouse.clock << 17 | gatehouse.random << 18;
}

EXPORT(buffer) char *buffer(size_t n) {
	if (n > buffer_len) {
		if (top) top = base;
		buffer_at = take(n);
		buffer_len = n;
		base = top;
	}
	return buffer_at;
}

EXPORT(configure) int64_t configure(size_t n) {
	read_message(n);
	gh_text config = gh_concat(1, &in[CONFIG]); // the next input overwrites the buffer
	uint32_t version = read_version(in[HOST]);
	if (bad) return -1;
	gh_detectors detectors = {0};
	gh_text problem = gatehouse.configure(config, version, &detectors);
	begin();
	if (problem.len) put_section(PROBLEM, problem);
	if (detectors.len) {
		size_t at = section(DETECTORS);
		for (size_t i = 0; i < detectors.len; i++) {
			size_t inner = structure(1);
			put_text(1, detectors.at[i].name);
			put_text(2, detectors.at[i].pattern);
			end_structure(inner);
		}
		end_section(at);
	}
	base = top;
	return done();
}

EXPORT(on_open) int64_t on_open(size_t n) {
	read_message(n);
	gh_session s = session_of();
	if (bad) return -1;
	gh_text state = gatehouse.open(&s);
	begin();
	if (state.len) put_section(STATE, state);
	return done();
}

EXPORT(on_request) int64_t on_request(size_t n) {
	read_message(n);
	gh_session s = session_of();
	gh_request r = read_request(in[REQUEST]);
	return bad ? -1 : put_verdict(gatehouse.request(&s, &r));
}

EXPORT(on_head) int64_t on_head(size_t n) {
	read_message(n);
	gh_session s = session_of();
	gh_head h = read_head(in[HEAD]);
	if (bad) return -1;
	gh_treatment *ts = gh_alloc(h.fields.len * sizeof *ts);
	gatehouse.head(&s, &h, ts);
	begin();
	size_t at = section(TREATMENTS);
	for (size_t i = 0; i < h.fields.len; i++) put_treatment(ts[i]);
	end_section(at);
	return done();
}

EXPORT(on_rows) int64_t on_rows(size_t n) {
	read_message(n);
	gh_batch b = read_batch();
	if (bad) return -1;
	gatehouse.rows(&b);
	return put_edits(&b);
}

EXPORT(on_upload) int64_t on_upload(size_t n) {
	read_message(n);
	gh_session s = session_of();
	gh_batch b = read_batch();
	return bad ? -1 : put_verdict(gatehouse.upload(&s, &b));
}

EXPORT(on_end) int64_t on_end(size_t n) {
	read_message(n);
	gh_session s = session_of();
	gh_outcome o = read_outcome(in[OUTCOME]);
	gh_note note = {0};
	return bad ? -1 : put_note(gatehouse.end(&s, &o, &note), note);
}

EXPORT(on_close) int64_t on_close(size_t n) {
	read_message(n);
	gh_session s = session_of();
	gh_note note = {0};
	return bad ? -1 : put_note(gatehouse.close(&s, &note), note);
}

// JSON.

typedef struct { const char *at, *end; int depth; } json;

static void blanks(json *j) {
	while (j->at < j->end && (*j->at == ' ' || *j->at == '\t' || *j->at == '\n' || *j->at == '\r')) j->at++;
}

static bool accept(json *j, char c) {
	blanks(j);
	return j->at < j->end && *j->at == c && ++j->at;
}

static bool word(json *j, gh_text w) {
	bool is = gh_has_prefix((gh_text){j->at, j->end - j->at}, w);
	if (is) j->at += w.len;
	return is;
}

// hex4 reads four hexadecimal digits, or returns -1.
static int hex4(json *j) {
	if (j->end - j->at < 4) return -1;
	int v = 0;
	for (int i = 0; i < 4; i++) {
		char c = *j->at++, lower = c | 32;
		if (c >= '0' && c <= '9') v = v << 4 | (c - '0');
		else if (lower >= 'a' && lower <= 'f') v = v << 4 | (lower - 'a' + 10);
		else return -1;
	}
	return v;
}

static char *utf8(char *p, uint32_t c) {
	if (c < 0x80) return *p = c, p + 1;
	int more = c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
	*p++ = (0xff00 >> (more + 1) & 0xff) | c >> 6 * more;
	while (more--) *p++ = 0x80 | (c >> 6 * more & 0x3f);
	return p;
}

// string reads a string's contents, after its opening quote.
static bool string(json *j, gh_text *s) {
	char *at = take(j->end - j->at), *p = at; // it is no longer than what is left
	while (j->at < j->end) {
		char c = *j->at++;
		if (c == '"') {
			*s = (gh_text){at, p - at};
			top = (size_t)p;
			return true;
		}
		if ((uint8_t)c < ' ') return false;
		if (c != '\\') {
			*p++ = c;
			continue;
		}
		if (j->at == j->end) return false;
		switch (c = *j->at++) {
		case '"': case '\\': case '/': *p++ = c; break;
		case 'b': *p++ = '\b'; break;
		case 'f': *p++ = '\f'; break;
		case 'n': *p++ = '\n'; break;
		case 'r': *p++ = '\r'; break;
		case 't': *p++ = '\t'; break;
		case 'u': {
			int v = hex4(j);
			if (v < 0) return false;
			if (v >> 10 == 0x36 && word(j, GH("\\u"))) {
				int low = hex4(j);
				if (low >> 10 != 0x37) return false;
				v = 0x10000 + ((v & 0x3ff) << 10 | (low & 0x3ff));
			}
			if (v >> 11 == 0x1b) v = 0xfffd; // half of a pair
			p = utf8(p, v);
			break;
		}
		default: return false;
		}
	}
	return false;
}

static bool digits(json *j) {
	const char *from = j->at;
	while (j->at < j->end && *j->at >= '0' && *j->at <= '9') j->at++;
	return j->at > from;
}

static bool json_number(json *j) {
	word(j, GH("-"));
	if (!word(j, GH("0")) && !digits(j)) return false;
	if (word(j, GH(".")) && !digits(j)) return false;
	if (!word(j, GH("e")) && !word(j, GH("E"))) return true;
	if (!word(j, GH("+"))) word(j, GH("-"));
	return digits(j);
}

static gh_json *json_value(json *j);

// children reads members or items up to the closing bracket.
static bool children(json *j, gh_json *parent, char close) {
	const gh_json **last = &parent->child;
	if (accept(j, close)) return true;
	do {
		gh_text key = {0};
		if (parent->kind == GH_JSON_OBJECT && !(accept(j, '"') && string(j, &key) && accept(j, ':'))) return false;
		gh_json *v = json_value(j);
		if (!v) return false;
		v->key = key;
		*last = v;
		last = &v->next;
	} while (accept(j, ','));
	return accept(j, close);
}

static gh_json *json_value(json *j) {
	if (++j->depth > 64) return NULL;
	blanks(j);
	gh_json *v = gh_alloc(sizeof *v);
	const char *from = j->at;
	bool ok = true;
	if (accept(j, '{')) v->kind = GH_JSON_OBJECT, ok = children(j, v, '}');
	else if (accept(j, '[')) v->kind = GH_JSON_ARRAY, ok = children(j, v, ']');
	else if (accept(j, '"')) v->kind = GH_JSON_STRING, ok = string(j, &v->text);
	else {
		if (word(j, GH("null"))) v->kind = GH_JSON_NULL;
		else if (word(j, GH("true")) || word(j, GH("false"))) v->kind = GH_JSON_BOOL;
		else v->kind = GH_JSON_NUMBER, ok = json_number(j);
		v->text = (gh_text){from, j->at - from};
	}
	j->depth--;
	return ok ? v : NULL;
}

const gh_json *gh_json_parse(gh_text s) {
	json j = {s.at, s.at + s.len, 0};
	const gh_json *v = json_value(&j);
	blanks(&j);
	return j.at == j.end ? v : NULL;
}

const gh_json *gh_json_get(const gh_json *o, gh_text key) {
	const gh_json *found = NULL;
	if (o && o->kind == GH_JSON_OBJECT)
		for (const gh_json *m = o->child; m; m = m->next)
			if (gh_equal(m->key, key)) found = m;
	return found;
}

gh_text gh_json_text(const gh_json *v, gh_text otherwise) {
	return v && v->kind == GH_JSON_STRING ? v->text : otherwise;
}

uint64_t gh_json_number(const gh_json *v, uint64_t otherwise) {
	if (!v || v->kind != GH_JSON_NUMBER) return otherwise;
	uint64_t n = 0;
	for (size_t i = 0; i < v->text.len; i++) {
		uint8_t digit = v->text.at[i] - '0';
		if (digit > 9 || n > (UINT64_MAX - digit) / 10) return otherwise;
		n = n * 10 + digit;
	}
	return n;
}

gh_texts gh_json_texts(const gh_json *v) {
	gh_texts l = {0};
	if (!v || v->kind != GH_JSON_ARRAY) return l;
	size_t n = 0;
	for (const gh_json *i = v->child; i; i = i->next) n++;
	gh_text *at = gh_alloc(n * sizeof *at);
	l.at = at;
	for (const gh_json *i = v->child; i; i = i->next) at[l.len++] = gh_json_text(i, (gh_text){0});
	return l;
}
