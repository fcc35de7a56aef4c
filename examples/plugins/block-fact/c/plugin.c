// Blocks statements of configured kinds, and what cannot be read.

#include "gatehouse.h"

GH_SCHEMA("schema.json");

static gh_texts kinds;

static gh_text configure(gh_text config, uint32_t version, gh_detectors *detectors) {
	(void)version, (void)detectors;
	kinds = gh_json_texts(gh_json_get(gh_json_parse(config), GH("kinds")));
	return (gh_text){0};
}

static gh_verdict judge(const gh_session *s, const gh_request *r) {
	(void)s;
	for (size_t i = 0; i < r->statements.len; i++) {
		const gh_statement *st = &r->statements.at[i];
		if (st->opaque) return (gh_verdict){.rule = GH("block-fact/opaque"), .reason = GH("what this does cannot be read")};
		if (gh_contains(kinds, st->kind))
			return (gh_verdict){.rule = GH("block-fact/kind"), .reason = GH_CONCAT(st->kind, GH(" is not allowed here"))};
	}
	return (gh_verdict){.action = GH_ALLOW};
}

const gh_plugin gatehouse = {.facts_only = true, .configure = configure, .request = judge};
