// Gatehouse's SDK for plugins in C. README.md begins with an example; ../ABI.md
// specifies the interface that it implements and what every field means.
//
// A plugin defines the variable `gatehouse`, with the hooks that it has. All
// memory that a hook allocates, and all that it is given, is freed before the
// next call; what configure is given and allocates stays. A guest keeps no
// other state.

#ifndef GATEHOUSE_H
#define GATEHOUSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// A text, or bytes: not terminated, and perhaps not UTF-8.
typedef struct { const char *at; size_t len; } gh_text;

// GH makes a text of a literal.
#define GH(literal) ((gh_text){literal, sizeof(literal) - 1})

typedef struct { const gh_text *at; size_t len; } gh_texts;

typedef struct { gh_text key, value; } gh_attr;
typedef struct { const gh_attr *at; size_t len; } gh_attrs;

// What the host says.

typedef struct {
	gh_text issuer, subject, name;
	gh_texts groups;
	int64_t expires; // nanoseconds since 1970, or 0
} gh_principal;

typedef struct {
	gh_text id, gate, protocol, resource, policy;
	gh_principal principal;
	gh_text client;
	int64_t start; // nanoseconds since 1970
	gh_attrs attrs;
	gh_text state; // what the plugin's open returned
} gh_session;

typedef struct { gh_text schema, name; } gh_object;
typedef struct { const gh_object *at; size_t len; } gh_objects;

enum { GH_SCOPE_NONE, GH_SCOPE_ALL, GH_SCOPE_RESTRICTED };

typedef struct {
	gh_text kind;
	int64_t parent; // index of the statement that contains this one, or -1
	gh_text within;
	bool runs, opaque;
	uint8_t scope;
	gh_objects writes, reads;
	gh_texts columns, functions, settings, names, options, operators, types, predicates;
} gh_statement;

typedef struct { gh_text value; bool null; } gh_param;

typedef struct {
	uint64_t param, size;
	gh_text digest;
} gh_cut;

typedef struct {
	gh_text operation, payload;
	struct { const gh_param *at; size_t len; } params;
	struct { const gh_statement *at; size_t len; } statements;
	gh_attrs labels, attrs;
	struct { const gh_cut *at; size_t len; } cut;
	gh_texts masked;
} gh_request;

enum { GH_LINEAGE_UNKNOWN, GH_LINEAGE_EXACT, GH_LINEAGE_DERIVED, GH_LINEAGE_FILTERED, GH_LINEAGE_CLEAN };

typedef struct {
	gh_text name, type;
	gh_texts origins;
	uint8_t lineage;
} gh_field;

typedef struct {
	struct { const gh_field *at; size_t len; } fields;
	gh_attrs attrs;
} gh_head;

typedef struct {
	gh_text status, tag, code;
	uint64_t rows;
} gh_outcome;

// What a plugin answers.

enum { GH_BLOCK, GH_HOLD, GH_ALLOW };

// The zero verdict blocks.
typedef struct {
	int action;
	gh_text rule, reason;
	gh_attrs labels;
} gh_verdict;

enum { GH_NULL, GH_REDACT, GH_HASH, GH_KEEP_LAST, GH_REPLACE, GH_INSPECT, GH_PASS, GH_FAKE, GH_DETECT };

// What is done to what a detector finds.
typedef struct {
	gh_text name; // of a detector
	uint8_t kind, keep;
} gh_detect;

// The zero treatment makes a field NULL.
typedef struct {
	uint8_t kind, keep;
	gh_text rule;
	struct { const gh_detect *at; size_t len; } detect;
} gh_treatment;

typedef struct {
	uint32_t row, field, from, to; // bytes of the value; to is exclusive
	uint8_t kind, keep;
	gh_text text; // for GH_REPLACE
} gh_edit;

typedef struct { gh_text name, pattern; } gh_detector;
typedef struct { const gh_detector *at; size_t len; } gh_detectors;

typedef struct {
	gh_text text;
	gh_attrs labels;
} gh_note;

// A batch of values.
typedef struct {
	uint32_t rows, fields;
	gh_head head; // describes the fields
	gh_text state;
	const uint32_t *offsets, *nulls;
	const char *values;
	struct { gh_edit *at; size_t len, cap; } edits; // made by gh_add
} gh_batch;

// gh_is_null is whether a cell is NULL.
static inline bool gh_is_null(const gh_batch *b, uint32_t row, uint32_t field) {
	size_t k = (size_t)row * b->fields + field;
	return b->nulls[k / 32] >> k % 32 & 1;
}

// gh_cell returns a cell's value, which is empty for NULL.
static inline gh_text gh_cell(const gh_batch *b, uint32_t row, uint32_t field) {
	size_t k = (size_t)row * b->fields + field;
	return (gh_text){b->values + b->offsets[k], b->offsets[k + 1] - b->offsets[k]};
}

// gh_add adds an edit. Edits come in the order of rows, fields and bytes, and do
// not overlap.
void gh_add(gh_batch *b, gh_edit e);

// The hooks. Those that are left out are not called.
typedef struct {
	// The gate remembers answers, and keeps from the plugin what differs from
	// request to request: payloads, parameters, a session's ID.
	bool facts_only;
	// The gate does not load the plugin without the grant clock, or random. Without
	// them gh_now tells some moment of 2022, and gh_random the same in every instance.
	bool clock, random;
	// Takes the configuration, a JSON object, and may fill in detectors. What
	// it returns is a problem that refuses the configuration, or empty.
	// Version is the host's, major << 16 | minor.
	gh_text (*configure)(gh_text config, uint32_t version, gh_detectors *detectors);
	// Returns the session's state: at most 4 KiB.
	gh_text (*open)(const gh_session *);
	gh_verdict (*request)(const gh_session *, const gh_request *);
	// Sets one treatment for each field, all of which are zero.
	void (*head)(const gh_session *, const gh_head *, gh_treatment *);
	// Adds edits of the fields for which head said GH_INSPECT.
	void (*rows)(gh_batch *);
	gh_verdict (*upload)(const gh_session *, gh_batch *);
	// Fill in a note and return true, or return false.
	bool (*end)(const gh_session *, const gh_outcome *, gh_note *);
	bool (*close)(const gh_session *, gh_note *);
} gh_plugin;

extern const gh_plugin gatehouse;

// GH_SCHEMA puts a file with a JSON Schema into the module, by which the gate
// checks the configuration. Give the compiler the file's folder with -I.
#define GH_SCHEMA(file) __asm__(".section .custom_section.gatehouse.schema,\"\",@\n.incbin \"" file "\"\n")

// Helpers.

// gh_alloc returns memory of zeros, for one of the structures above or any other.
void *gh_alloc(size_t n);

bool gh_equal(gh_text a, gh_text b);
bool gh_has_prefix(gh_text s, gh_text prefix);

// gh_contains is whether s is one of list.
bool gh_contains(gh_texts list, gh_text s);

// gh_concat joins n texts.
gh_text gh_concat(size_t n, const gh_text *parts);

// GH_CONCAT joins texts.
#define GH_CONCAT(...) gh_concat(sizeof((gh_text[]){__VA_ARGS__}) / sizeof(gh_text), (gh_text[]){__VA_ARGS__})

// gh_now returns the time, in nanoseconds since 1970: see gh_plugin.clock.
int64_t gh_now(void);

// gh_random returns a random number: see gh_plugin.random.
uint64_t gh_random(void);

// gh_decimal writes a number.
gh_text gh_decimal(uint64_t n);

// A JSON value. Members and items are its children, in order.
typedef struct gh_json {
	enum { GH_JSON_NULL, GH_JSON_BOOL, GH_JSON_NUMBER, GH_JSON_STRING, GH_JSON_ARRAY, GH_JSON_OBJECT } kind;
	gh_text key;  // of a member
	gh_text text; // a string's contents; a number or a bool as it is written
	const struct gh_json *child, *next;
} gh_json;

// gh_json_parse returns NULL for what is no JSON, or nested deeper than 64.
const gh_json *gh_json_parse(gh_text s);

// gh_json_get returns a member of an object, or NULL.
const gh_json *gh_json_get(const gh_json *object, gh_text key);

// These read a value that may be NULL: then, and where it is of another kind,
// they return `otherwise`, or an empty list.
gh_text gh_json_text(const gh_json *, gh_text otherwise);
uint64_t gh_json_number(const gh_json *, uint64_t otherwise); // one without sign, fraction and exponent
gh_texts gh_json_texts(const gh_json *);

#endif
