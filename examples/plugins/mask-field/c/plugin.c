// Masks the fields that come from configured columns.

#include "gatehouse.h"

GH_SCHEMA("schema.json");

static gh_texts columns;
static uint8_t keep;

static gh_text configure(gh_text config, uint32_t version, gh_detectors *detectors) {
	(void)version, (void)detectors;
	const gh_json *c = gh_json_parse(config);
	columns = gh_json_texts(gh_json_get(c, GH("columns")));
	keep = gh_json_number(gh_json_get(c, GH("keep")), 4);
	return (gh_text){0};
}

static gh_treatment treat(const gh_field *f) {
	if (f->lineage == GH_LINEAGE_CLEAN || f->lineage == GH_LINEAGE_FILTERED) return (gh_treatment){.kind = GH_PASS};
	for (size_t i = 0; i < f->origins.len; i++) {
		if (!gh_contains(columns, f->origins.at[i])) continue;
		gh_treatment t = {.kind = GH_REDACT, .rule = GH_CONCAT(GH("mask-field/"), f->origins.at[i])};
		if (f->lineage == GH_LINEAGE_EXACT) t.kind = GH_KEEP_LAST, t.keep = keep;
		return t;
	}
	if (f->lineage == GH_LINEAGE_UNKNOWN && !f->origins.len) return (gh_treatment){.kind = GH_REDACT, .rule = GH("mask-field/unknown")};
	return (gh_treatment){.kind = GH_PASS};
}

static void head(const gh_session *s, const gh_head *h, gh_treatment *ts) {
	(void)s;
	for (size_t i = 0; i < h->fields.len; i++) ts[i] = treat(&h->fields.at[i]);
}

const gh_plugin gatehouse = {.facts_only = true, .configure = configure, .head = head};
