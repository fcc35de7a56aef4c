// Redacts access keys: in text by looking at each value, in JSON by a detector
// that the gate runs.

#include "gatehouse.h"

GH_SCHEMA("schema.json");

enum { REST = 8 }; // what follows a prefix at least

static gh_texts prefixes;

static gh_text configure(gh_text config, uint32_t version, gh_detectors *detectors) {
	(void)version;
	prefixes = gh_json_texts(gh_json_get(gh_json_parse(config), GH("prefixes")));
	gh_text any = {0};
	for (size_t i = 0; i < prefixes.len; i++) any = GH_CONCAT(any, i ? GH("|") : GH(""), prefixes.at[i]);
	gh_detector *key = gh_alloc(sizeof *key);
	*key = (gh_detector){GH("key"), GH_CONCAT(GH("(?:"), any, GH(")[A-Za-z0-9_]{8,}"))};
	*detectors = (gh_detectors){key, 1};
	return (gh_text){0};
}

static const gh_detect detects[] = {{GH("key"), GH_REDACT, 0}, {GH("email"), GH_REDACT, 0}};

static void head(const gh_session *s, const gh_head *h, gh_treatment *ts) {
	(void)s;
	for (size_t i = 0; i < h->fields.len; i++) {
		gh_text type = h->fields.at[i].type;
		ts[i].kind = GH_PASS;
		if (gh_equal(type, GH("text")) || gh_equal(type, GH("varchar")) || gh_equal(type, GH("bpchar")))
			ts[i] = (gh_treatment){.kind = GH_INSPECT, .rule = GH("detect-content")};
		if (gh_equal(type, GH("json")) || gh_equal(type, GH("jsonb")))
			ts[i] = (gh_treatment){.kind = GH_DETECT, .rule = GH("detect-content"), .detect = {detects, 2}};
	}
}

static bool in_key(char c) {
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

// key_at returns where a key that begins at `from` ends, or `from`.
static size_t key_at(gh_text v, size_t from) {
	for (size_t i = 0; i < prefixes.len; i++) {
		gh_text p = prefixes.at[i];
		if (!gh_has_prefix((gh_text){v.at + from, v.len - from}, p)) continue;
		size_t to = from + p.len;
		while (to < v.len && in_key(v.at[to])) to++;
		if (to >= from + p.len + REST) return to;
	}
	return from;
}

static void rows(gh_batch *b) {
	for (uint32_t i = 0; i < b->rows; i++)
		for (uint32_t j = 0; j < b->fields; j++) {
			gh_text v = gh_cell(b, i, j);
			for (size_t at = 0; at < v.len;) {
				size_t to = key_at(v, at);
				if (to > at) gh_add(b, (gh_edit){.row = i, .field = j, .from = at, .to = to, .kind = GH_REDACT});
				at = to > at ? to : at + 1;
			}
		}
}

const gh_plugin gatehouse = {.configure = configure, .head = head, .rows = rows};
