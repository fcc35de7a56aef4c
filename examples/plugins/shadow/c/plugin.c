// Lets members of a group only read, and notes large results: a rule to try with
// `shadow: true` before it is in force.

#include "gatehouse.h"

GH_SCHEMA("schema.json");

static gh_text group;
static uint64_t most;

static gh_text configure(gh_text config, uint32_t version, gh_detectors *detectors) {
	(void)version, (void)detectors;
	const gh_json *c = gh_json_parse(config);
	group = gh_json_text(gh_json_get(c, GH("group")), (gh_text){0});
	most = gh_json_number(gh_json_get(c, GH("rows")), 1000);
	return (gh_text){0};
}

// The state says which sessions are of members.
static gh_text open_session(const gh_session *s) {
	return gh_contains(s->principal.groups, group) ? GH("reader") : (gh_text){0};
}

static bool reads_only(const gh_session *s) { return gh_equal(s->state, GH("reader")); }

static gh_verdict write_verdict(void) {
	return (gh_verdict){.rule = GH("shadow/write"), .reason = GH_CONCAT(GH("members of "), group, GH(" only read"))};
}

static gh_verdict judge(const gh_session *s, const gh_request *r) {
	if (reads_only(s))
		for (size_t i = 0; i < r->statements.len; i++)
			if (r->statements.at[i].opaque || r->statements.at[i].writes.len) return write_verdict();
	return (gh_verdict){.action = GH_ALLOW};
}

static gh_verdict upload(const gh_session *s, gh_batch *b) {
	(void)b;
	return reads_only(s) ? write_verdict() : (gh_verdict){.action = GH_ALLOW};
}

static bool end(const gh_session *s, const gh_outcome *o, gh_note *n) {
	(void)s;
	static const gh_attr large = {GH("large"), GH("true")};
	*n = (gh_note){.text = GH_CONCAT(gh_decimal(o->rows), GH(" rows")), .labels = {&large, 1}};
	return o->rows > most;
}

static bool close_session(const gh_session *s, gh_note *n) {
	n->text = GH("a reader's session");
	return reads_only(s);
}

const gh_plugin gatehouse = {
	.configure = configure,
	.open = open_session,
	.request = judge,
	.upload = upload,
	.end = end,
	.close = close_session,
};
