package postgres

import "fmt"

var errTooManyUses = fmt.Errorf("the statement names more than %d functions, types, operators and relations", maxUses)

// codeQuery finds what uses run: their ways ($1), schemas ($2), names ($3) and
// the schemas to look in for names without one ($4), which may be all. What
// belongs to an extension counts as the server's own, which has no code here.
//
// Definitions are read from the trees in which the server keeps them: turning
// them into text takes locks, which the client's own transaction may have. Of
// views and expressions a query of the functions, operators, domains and relations
// in them is returned. Only rules other than those of views, and functions with
// the body in a tree, are turned into text.
const codeQuery = `
WITH RECURSIVE asked AS (
	SELECT how, schema, name, path, nullif(path, '')::text[] AS schemas
	FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) AS asked (how, schema, name, path)
), extended AS (
	SELECT classid, objid FROM pg_depend WHERE deptype = 'e'
), procs AS (
	SELECT a.name, a.path, p.oid, p.prokind, p.provolatile, p.prorettype, n.nspname IN ('pg_catalog', 'information_schema')
		OR EXISTS (SELECT FROM extended e WHERE e.classid = 'pg_proc'::regclass AND e.objid = p.oid) AS owned
	FROM (SELECT * FROM asked WHERE how = 'f') a
	CROSS JOIN pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
	WHERE lower(p.proname) = a.name AND (a.schemas IS NULL OR n.nspname = ANY (a.schemas)) OR lower(n.nspname || '.' || p.proname) = a.name
		OR n.nspname LIKE 'pg\_temp\_%' AND 'pg_temp.' || lower(p.proname) = a.name
), types AS (
	SELECT a.name, a.path, t.oid
	FROM (SELECT * FROM asked WHERE how = 't') a
	CROSS JOIN pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
	WHERE (t.typname = a.name AND (a.schemas IS NULL OR n.nspname = ANY (a.schemas)) OR n.nspname || '.' || t.typname = a.name
		OR a.name IN ('#' || t.oid, '#' || t.typarray)) AND n.nspname <> 'pg_catalog'
), relations AS (
	SELECT a.how, a.schema, a.name, a.path, r.oid, r.relkind
	FROM asked a JOIN pg_class r ON r.relname = a.name JOIN pg_namespace n ON n.oid = r.relnamespace
	WHERE a.how IN ('r', 'm', 'I', 'U', 'D', 'T', 'L', 'C', 'k', 'n')
		AND (a.schema = n.nspname OR a.schema = '' AND (a.schemas IS NULL OR n.nspname = ANY (a.schemas)))
		AND r.relpersistence <> 't' AND n.nspname NOT IN ('pg_catalog', 'information_schema')
		AND NOT EXISTS (SELECT FROM extended e WHERE e.classid = 'pg_class'::regclass AND e.objid = r.oid)
	UNION -- what is written to a table goes to its partitions, and TRUNCATE to what refers to it
	SELECT r.how, r.schema, r.name, r.path, c.oid, c.relkind
	FROM relations r JOIN (
		SELECT inhparent, inhrelid, ARRAY['I', 'U', 'D', 'T'] FROM pg_inherits
		UNION ALL
		SELECT confrelid, conrelid, ARRAY['T'] FROM pg_constraint WHERE contype = 'f'
	) h (above, below, ways) ON h.above = r.oid AND r.how = ANY (h.ways) JOIN pg_class c ON c.oid = h.below
), typed AS ( -- of which types values are that a statement has not named; those from 16384 on are not the server's own
	SELECT r.how, r.schema, r.name, r.path, coalesce(nullif(t.typelem, 0), t.oid) AS oid, string_agg(c.attname, E'\x01') AS columns
	FROM relations r JOIN pg_attribute c ON c.attrelid = r.oid AND c.attnum > 0 AND NOT c.attisdropped JOIN pg_type t ON t.oid = c.atttypid
	WHERE r.how = 'r' GROUP BY 1, 2, 3, 4, 5
	UNION
	SELECT 'f', '', p.name, p.path, coalesce(nullif(t.typelem, 0), t.oid), ''
	FROM procs p JOIN pg_type t ON t.oid = p.prorettype WHERE NOT p.owned
	UNION
	SELECT 't', '', name, path, oid, '' FROM types
), domains AS ( -- of which the columns are that are written
	SELECT r.how, r.schema, r.name, r.path, t.oid, t.typbasetype, t.typdefaultbin
	FROM relations r JOIN pg_attribute c ON c.attrelid = r.oid AND c.attnum > 0 AND NOT c.attisdropped JOIN pg_type a ON a.oid = c.atttypid
	JOIN pg_type t ON t.oid IN (a.oid, a.typelem) AND t.typtype = 'd' WHERE r.how IN ('I', 'U', 'L', 'C')
	UNION ALL
	SELECT 't', '', x.name, x.path, t.oid, t.typbasetype, t.typdefaultbin FROM types x JOIN pg_type t ON t.oid = x.oid AND t.typtype = 'd'
	UNION ALL
	SELECT d.how, d.schema, d.name, d.path, t.oid, t.typbasetype, t.typdefaultbin FROM domains d JOIN pg_type t ON t.oid = d.typbasetype AND t.typtype = 'd'
), called AS (
	SELECT 'f' AS how, '' AS schema, p.name, p.path, part.proc, true AS plans, '' AS within, '' AS symbol, '' AS columns
	FROM procs p JOIN pg_aggregate g ON g.aggfnoid = p.oid,
		LATERAL (VALUES (g.aggtransfn), (g.aggfinalfn), (g.aggcombinefn), (g.aggserialfn), (g.aggdeserialfn),
			(g.aggmtransfn), (g.aggminvtransfn), (g.aggmfinalfn)) AS part (proc)
	UNION ALL
	SELECT 'o', '', a.name, a.path, o.oprcode, true, '', '', ''
	FROM asked a CROSS JOIN pg_operator o JOIN pg_namespace n ON n.oid = o.oprnamespace
	WHERE a.how = 'o' AND (o.oprname = a.name AND (a.schemas IS NULL OR n.nspname = ANY (a.schemas)) OR n.nspname || '.' || o.oprname = a.name)
	UNION ALL
	SELECT t.how, t.schema, t.name, t.path, o.oprcode, true, '', o.oprname, t.columns
	FROM typed t JOIN pg_operator o ON t.oid IN (o.oprleft, o.oprright) AND (t.oid >= 16384 OR greatest(o.oprleft, o.oprright) < 16384)
	UNION ALL
	SELECT 't', '', t.name, t.path, c.castfunc, true, '', '', '' FROM types t JOIN pg_cast c ON t.oid IN (c.castsource, c.casttarget)
	UNION ALL
	SELECT t.how, t.schema, t.name, t.path, c.castfunc, true, '', '', t.columns
	FROM typed t JOIN pg_cast c ON t.oid = CASE WHEN c.castsource < 16384 AND c.casttarget >= 16384 THEN c.casttarget ELSE c.castsource END
		AND c.castcontext <> 'e'
	UNION ALL
	SELECT t.how, t.schema, t.name, t.path, f.proc, true, '', '', t.columns
	FROM typed t JOIN pg_type b ON b.oid = t.oid AND b.typtype = 'b',
		LATERAL (VALUES (b.typinput), (b.typoutput), (b.typreceive), (b.typsend), (b.typmodin)) AS f (proc)
	UNION ALL
	SELECT r.how, r.schema, r.name, r.path, g.tgfoid, false, 'trigger', '', ''
	FROM relations r JOIN pg_class c ON c.oid = r.oid JOIN pg_trigger g ON g.tgrelid = r.oid
		-- Rows that UPDATE moves to another partition are deleted and inserted.
		AND g.tgtype & CASE r.how WHEN 'I' THEN 4 WHEN 'D' THEN 8 WHEN 'T' THEN 32 WHEN 'U' THEN CASE WHEN c.relispartition THEN 28 ELSE 16 END ELSE 0 END <> 0
	UNION ALL
	SELECT 'd', '', '', a.path, e.evtfoid, false, 'trigger', '', '' FROM asked a CROSS JOIN pg_event_trigger e WHERE a.how = 'd' AND e.evtenabled <> 'D'
	UNION ALL
	SELECT r.how, r.schema, r.name, r.path, m.amproc, false, '', '', ''
	FROM relations r JOIN pg_index i ON i.indrelid = r.oid JOIN pg_opclass o ON o.oid = ANY (i.indclass) JOIN pg_amproc m ON m.amprocfamily = o.opcfamily
	WHERE r.how IN ('r', 'I', 'U')
), trees AS (
	SELECT r.how, r.schema, r.name, r.path, r.oid, d.adbin::text AS tree, false AS plans, '' AS within
	FROM relations r JOIN pg_attrdef d ON d.adrelid = r.oid WHERE r.how IN ('I', 'U', 'L')
	UNION ALL
	SELECT r.how, r.schema, r.name, r.path, r.oid, c.conbin::text, false, ''
	FROM relations r JOIN pg_constraint c ON c.conrelid = r.oid AND c.contype = 'c' WHERE r.how IN ('I', 'U', 'L')
	UNION ALL
	SELECT r.how, r.schema, r.name, r.path, r.oid, x.tree, false, ''
	FROM relations r JOIN pg_index i ON i.indrelid = r.oid, LATERAL (VALUES (i.indexprs::text), (i.indpred::text)) AS x (tree)
	WHERE r.how IN ('I', 'U', 'L')
	UNION ALL
	SELECT r.how, r.schema, r.name, r.path, r.oid, x.tree, true, ''
	FROM relations r JOIN pg_policy p ON p.polrelid = r.oid, LATERAL (VALUES (p.polqual::text), (p.polwithcheck::text)) AS x (tree)
	WHERE r.how = 'r'
	UNION ALL
	SELECT r.how, r.schema, r.name, r.path, r.oid, g.tgqual::text, false, 'trigger'
	FROM relations r JOIN pg_trigger g ON g.tgrelid = r.oid WHERE r.how IN ('I', 'U', 'D', 'T')
	UNION ALL
	SELECT r.how, r.schema, r.name, r.path, r.oid, p.partexprs::text, false, ''
	FROM relations r JOIN pg_partitioned_table p ON p.partrelid = r.oid WHERE r.how IN ('I', 'U')
	UNION ALL
	SELECT r.how, r.schema, r.name, r.path, r.oid, w.ev_action::text, true, ''
	FROM relations r JOIN pg_rewrite w ON w.ev_class = r.oid AND w.ev_type = '1'
	WHERE r.how = 'r' AND r.relkind = 'v' OR r.how = 'm' AND r.relkind = 'm'
	UNION ALL
	SELECT d.how, d.schema, d.name, d.path, 0, c.conbin::text, true, '' FROM domains d JOIN pg_constraint c ON c.contypid = d.oid
	UNION ALL
	SELECT d.how, d.schema, d.name, d.path, 0, d.typdefaultbin::text, true, '' FROM domains d
)
SELECT 'f', '', name, path, pg_get_functiondef(oid), provolatile <> 'v', '', '', '' FROM procs WHERE NOT owned AND prokind <> 'a'
UNION ALL
SELECT 'f', '', name, path, '', false, '', '', '' FROM procs
UNION ALL
SELECT 'f', '', a.name, a.path, '', false, '', '', ''
FROM asked a JOIN pg_type t ON lower(t.typname) = a.name OR a.name LIKE '%.' || replace(lower(t.typname), '_', '\_') WHERE a.how = 'f'
UNION ALL -- of what the grammar has of its own since version 16 or 17
SELECT 'f', '', a.name, a.path, '', false, '', '', ''
FROM asked a WHERE a.how = 'f' AND a.name IN ('json', 'json_array', 'json_arrayagg', 'json_exists', 'json_object', 'json_objectagg', 'json_query', 'json_scalar',
	'json_serialize', 'json_table', 'json_value', 'merge_action')
UNION ALL
SELECT a.how, '', a.name, a.path, CASE WHEN x.owned THEN '' ELSE 'SELECT ' || quote_ident(n.nspname) || '.' || quote_ident(p.proname) || '()' END, true, '', '', ''
FROM asked a JOIN pg_proc p ON p.proname = a.name JOIN pg_namespace n ON n.oid = p.pronamespace JOIN pg_type t ON t.oid = p.proargtypes[0],
	LATERAL (SELECT n.nspname IN ('pg_catalog', 'information_schema')
		OR EXISTS (SELECT FROM extended e WHERE e.classid = 'pg_proc'::regclass AND e.objid = p.oid) AS owned) x
WHERE (a.how = 'y' OR a.how = 'x' AND t.typtype IN ('c', 'd', 'p') AND NOT x.owned)
	AND (p.pronargs - p.pronargdefaults <= 1 OR p.provariadic <> 0) AND (a.schemas IS NULL OR n.nspname = ANY (a.schemas))
UNION ALL
SELECT c.how, c.schema, c.name, c.path, 'SELECT ' || quote_ident(n.nspname) || '.' || quote_ident(p.proname) || '()', c.plans, c.within, c.symbol, c.columns
FROM called c JOIN pg_proc p ON p.oid = c.proc JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname <> 'pg_catalog'
UNION ALL
SELECT t.how, t.schema, t.name, t.path, 'SELECT NULL' || coalesce((
	SELECT string_agg(', ' || quote_ident(n.nspname) || '.' || quote_ident(p.proname) || CASE p.proname WHEN 'ts_rewrite' THEN '(NULL, NULL)' ELSE '()' END, '')
	FROM (
		SELECT m[1]::oid AS oid FROM regexp_matches(t.tree, ':(?:funcid|aggfnoid|winfnoid|tsmhandler) ([0-9]+)', 'g') m
		UNION
		SELECT o.oprcode
		FROM regexp_matches(t.tree, ':(?:opno|eqop|sortop) ([0-9]+)|:opnos [(]o ([0-9 ]+)[)]', 'g') m,
			LATERAL regexp_split_to_table(coalesce(m[1], m[2]), ' ') x JOIN pg_operator o ON o.oid = x::oid
	) f JOIN pg_proc p ON p.oid = f.oid JOIN pg_namespace n ON n.oid = p.pronamespace
), '') || coalesce((
	SELECT string_agg(', NULL::' || quote_ident(n.nspname) || '.' || quote_ident(y.typname), '')
	FROM (SELECT DISTINCT m[1]::oid AS oid FROM regexp_matches(t.tree, ':resulttype ([0-9]+)', 'g') m) x
	JOIN pg_type y ON y.oid = x.oid AND y.typtype = 'd' JOIN pg_namespace n ON n.oid = y.typnamespace
), '') || coalesce((
	SELECT ' FROM ' || string_agg(quote_ident(n.nspname) || '.' || quote_ident(r.relname), ', ')
	FROM (SELECT DISTINCT m[1]::oid AS oid FROM regexp_matches(t.tree, ':relid ([0-9]+)', 'g') m) x
	JOIN pg_class r ON r.oid = x.oid AND r.oid <> t.oid JOIN pg_namespace n ON n.oid = r.relnamespace
), ''), t.plans, t.within, '', ''
FROM trees t WHERE t.tree IS NOT NULL
UNION ALL
SELECT r.how, r.schema, r.name, r.path, string_agg(c.attname, E'\x01'), false, '', '', ''
FROM relations r JOIN pg_attribute c ON c.attrelid = r.oid AND c.attnotnull AND c.attnum > 0 AND NOT c.attisdropped WHERE r.how = 'n' GROUP BY 1, 2, 3, 4, r.oid
UNION ALL
SELECT r.how, r.schema, r.name, r.path, (
	SELECT string_agg(c.attname, E'\x01') FROM pg_attribute c WHERE c.attrelid = r.oid AND c.attnum = ANY (i.indkey)
), false, '', '', ''
FROM relations r JOIN pg_index i ON i.indrelid = r.oid AND i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL
WHERE r.how = 'k' AND (r.relkind = 'p' OR NOT EXISTS (SELECT FROM pg_inherits h WHERE h.inhparent = r.oid))
UNION ALL
SELECT r.how, r.schema, r.name, r.path, CASE WHEN x.action = 'c' AND r.how = 'D' THEN 'DELETE FROM ' || x.child || x.keys
	ELSE 'UPDATE ' || x.child || ' SET ' || x.first || ' = NULL' || x.keys END, false, 'cascade', '', CASE r.how WHEN 'U' THEN x.key ELSE '' END
FROM relations r JOIN pg_constraint c ON c.confrelid = r.oid AND c.contype = 'f' JOIN pg_class t ON t.oid = c.conrelid JOIN pg_namespace n ON n.oid = t.relnamespace,
	LATERAL (
		SELECT CASE r.how WHEN 'D' THEN c.confdeltype ELSE c.confupdtype END AS action, quote_ident(n.nspname) || '.' || quote_ident(t.relname) AS child,
			min(quote_ident(a.attname)) AS first, ' WHERE ' || string_agg(quote_ident(a.attname) || ' = $1', ' AND ') AS keys,
			(SELECT string_agg(k.attname, E'\x01') FROM pg_attribute k WHERE k.attrelid = r.oid AND k.attnum = ANY (c.confkey)) AS key
		FROM pg_attribute a WHERE a.attrelid = c.conrelid AND a.attnum = ANY (c.conkey)
	) x
WHERE r.how IN ('U', 'D') AND x.action IN ('c', 'n', 'd') AND NOT EXISTS (SELECT FROM pg_constraint p WHERE p.oid = c.conparentid AND p.confrelid = c.confrelid)
UNION ALL
SELECT r.how, r.schema, r.name, r.path, pg_get_ruledef(w.oid), false, '', '', ''
FROM relations r JOIN pg_rewrite w ON w.ev_class = r.oid
	AND w.ev_type = CASE r.how WHEN 'U' THEN '2' WHEN 'I' THEN '3' WHEN 'D' THEN '4' END`
