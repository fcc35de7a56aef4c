// Redacts a column and blocks a kind of statement.

#include "gatehouse.h"

// The configuration, which schema.json describes.
GH_SCHEMA("schema.json");

static gh_text column, kind;

static gh_text configure(gh_text config, uint32_t version, gh_detectors *detectors) {
	(void)version, (void)detectors;
	const gh_json *c = gh_json_parse(config);
	column = gh_json_text(gh_json_get(c, GH("column")), (gh_text){0});
	kind = gh_json_text(gh_json_get(c, GH("kind")), (gh_text){0});
	return (gh_text){0};
}

static gh_verdict judge(const gh_session *s, const gh_request *r) {
	(void)s;
	for (size_t i = 0; i < r->statements.len; i++)
		if (gh_equal(r->statements.at[i].kind, kind))
			return (gh_verdict){.rule = GH("<<.Name>>/kind"), .reason = GH_CONCAT(kind, GH(" is not for agents"))};
	return (gh_verdict){.action = GH_ALLOW};
}

static void treat(const gh_session *s, const gh_head *h, gh_treatment *ts) {
	(void)s;
	for (size_t i = 0; i < h->fields.len; i++) {
		ts[i].kind = GH_PASS;
		if (gh_contains(h->fields.at[i].origins, column)) ts[i] = (gh_treatment){.kind = GH_REDACT, .rule = GH("<<.Name>>/column")};
	}
}

// The answers depend on facts alone, so that the gate may remember them.
const gh_plugin gatehouse = {.facts_only = true, .configure = configure, .request = judge, .head = treat};
