// Counts points for what a request does, labels it with them, and holds what has
// too many.

#include "gatehouse.h"

GH_SCHEMA("schema.json");

static uint64_t limit;

static gh_text configure(gh_text config, uint32_t version, gh_detectors *detectors) {
	(void)version, (void)detectors;
	limit = gh_json_number(gh_json_get(gh_json_parse(config), GH("limit")), 50);
	return (gh_text){0};
}

static uint64_t points(const gh_statement *st) {
	if (st->opaque || st->scope == GH_SCOPE_ALL) return 60;
	return st->writes.len ? 20 : 0;
}

static gh_verdict judge(const gh_session *s, const gh_request *r) {
	(void)s;
	uint64_t sum = 0;
	for (size_t i = 0; i < r->statements.len; i++) sum += points(&r->statements.at[i]);
	gh_attr *risk = gh_alloc(sizeof *risk);
	*risk = (gh_attr){GH("risk"), gh_decimal(sum)};
	gh_verdict v = {.action = GH_ALLOW, .labels = {risk, 1}};
	if (sum >= limit) {
		v.action = GH_HOLD;
		v.rule = GH("hold-risk/limit");
		v.reason = GH_CONCAT(GH("a risk of "), risk->value, GH(", where "), gh_decimal(limit), GH(" is held"));
	}
	return v;
}

const gh_plugin gatehouse = {.facts_only = true, .configure = configure, .request = judge};
