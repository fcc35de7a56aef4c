package postgres

import "fmt"

var errTooManyUses = fmt.Errorf("the statement names more than %d functions, types, operators and relations", maxUses)

// codeQuery finds what uses run: their ways ($1), schemas ($2), names ($3) and
// the schemas to look in for names without one ($4), which may be all. What
// belongs to an extension counts as the server's own, which has no code here.
const codeQuery = `
WITH asked AS (
	SELECT how, schema, name, path, nullif(path, '')::text[] AS schemas
	FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) AS asked (how, schema, name, path)
), extended AS (
	SELECT classid, objid FROM pg_depend WHERE deptype = 'e'
), procs AS (
	SELECT a.name, a.path, p.oid, p.prokind, p.provolatile, n.nspname IN ('pg_catalog', 'information_schema')
		OR EXISTS (SELECT FROM extended e WHERE e.classid = 'pg_proc'::regclass AND e.objid = p.oid) AS owned
	FROM (SELECT * FROM asked WHERE how = 'f') a
	CROSS JOIN pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
	WHERE lower(p.proname) = a.name AND (a.schemas IS NULL OR n.nspname = ANY (a.schemas)) OR lower(n.nspname || '.' || p.proname) = a.name
		OR n.nspname LIKE 'pg\_temp\_%' AND 'pg_temp.' || lower(p.proname) = a.name
), types AS (
	SELECT a.name, a.path, t.oid
	FROM (SELECT * FROM asked WHERE how = 't') a
	CROSS JOIN pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
	WHERE (t.typname = a.name AND (a.schemas IS NULL OR n.nspname = ANY (a.schemas)) OR n.nspname || '.' || t.typname = a.name) AND n.nspname <> 'pg_catalog'
), relations AS (
	SELECT a.how, a.schema, a.name, a.path, r.oid, r.relkind
	FROM asked a JOIN pg_class r ON r.relname = a.name JOIN pg_namespace n ON n.oid = r.relnamespace
	WHERE a.how IN ('r', 'm', 'I', 'U', 'D', 'k')
		AND (a.schema = n.nspname OR a.schema = '' AND (a.schemas IS NULL OR n.nspname = ANY (a.schemas)))
		AND r.relpersistence <> 't' AND n.nspname NOT IN ('pg_catalog', 'information_schema')
		AND NOT EXISTS (SELECT FROM extended e WHERE e.classid = 'pg_class'::regclass AND e.objid = r.oid)
), called AS (
	SELECT 'f' AS how, '' AS schema, p.name, p.path, part.proc, true AS plans, false AS fires
	FROM procs p JOIN pg_aggregate g ON g.aggfnoid = p.oid,
		LATERAL (VALUES (g.aggtransfn), (g.aggfinalfn), (g.aggcombinefn), (g.aggserialfn), (g.aggdeserialfn),
			(g.aggmtransfn), (g.aggminvtransfn), (g.aggmfinalfn)) AS part (proc)
	UNION ALL
	SELECT 'o', '', a.name, a.path, o.oprcode, true, false
	FROM asked a CROSS JOIN pg_operator o JOIN pg_namespace n ON n.oid = o.oprnamespace
	WHERE a.how = 'o' AND (o.oprname = a.name AND (a.schemas IS NULL OR n.nspname = ANY (a.schemas)) OR n.nspname || '.' || o.oprname = a.name)
	UNION ALL
	SELECT 't', '', t.name, t.path, c.castfunc, true, false FROM types t JOIN pg_cast c ON t.oid IN (c.castsource, c.casttarget)
	UNION ALL
	SELECT r.how, r.schema, r.name, r.path, g.tgfoid, false, true
	FROM relations r JOIN pg_trigger g ON g.tgrelid = r.oid AND NOT g.tgisinternal
		AND g.tgtype & CASE r.how WHEN 'I' THEN 4 WHEN 'D' THEN 8 WHEN 'U' THEN 16 ELSE 0 END <> 0
), expressions AS (
	SELECT r.how, r.schema, r.name, r.path, pg_get_expr(d.adbin, d.adrelid) AS expression, false AS plans
	FROM relations r JOIN pg_attrdef d ON d.adrelid = r.oid WHERE r.how IN ('I', 'U')
	UNION ALL
	SELECT r.how, r.schema, r.name, r.path, pg_get_expr(c.conbin, c.conrelid), false
	FROM relations r JOIN pg_constraint c ON c.conrelid = r.oid AND c.contype = 'c' WHERE r.how IN ('I', 'U')
	UNION ALL
	SELECT r.how, r.schema, r.name, r.path, x.expression, false
	FROM relations r JOIN pg_index i ON i.indrelid = r.oid,
		LATERAL (VALUES (pg_get_expr(i.indexprs, i.indrelid)), (pg_get_expr(i.indpred, i.indrelid))) AS x (expression)
	WHERE r.how IN ('I', 'U')
	UNION ALL
	SELECT r.how, r.schema, r.name, r.path, x.expression, true
	FROM relations r JOIN pg_policy p ON p.polrelid = r.oid,
		LATERAL (VALUES (pg_get_expr(p.polqual, p.polrelid)), (pg_get_expr(p.polwithcheck, p.polrelid))) AS x (expression)
	WHERE r.how = 'r'
	UNION ALL
	SELECT 't', '', t.name, t.path, pg_get_expr(c.conbin, 0), true FROM types t JOIN pg_constraint c ON c.contypid = t.oid
)
SELECT 'f', '', name, path, pg_get_functiondef(oid), provolatile <> 'v', false FROM procs WHERE NOT owned AND prokind <> 'a'
UNION ALL
SELECT 'f', '', name, path, '', false, false FROM procs
UNION ALL
SELECT 'f', '', a.name, a.path, '', false, false
FROM asked a JOIN pg_type t ON lower(t.typname) = a.name OR a.name LIKE '%.' || replace(lower(t.typname), '_', '\_') WHERE a.how = 'f'
UNION ALL
SELECT c.how, c.schema, c.name, c.path, 'SELECT ' || quote_ident(n.nspname) || '.' || quote_ident(p.proname) || '()', c.plans, c.fires
FROM called c JOIN pg_proc p ON p.oid = c.proc JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname <> 'pg_catalog'
UNION ALL
SELECT how, schema, name, path, 'SELECT ' || expression, plans, false FROM expressions WHERE expression IS NOT NULL
UNION ALL
SELECT how, schema, name, path, pg_get_viewdef(oid), true, false FROM relations WHERE how = 'r' AND relkind = 'v' OR how = 'm' AND relkind = 'm'
UNION ALL
SELECT r.how, r.schema, r.name, r.path, (
	SELECT string_agg(c.attname, E'\x01') FROM pg_attribute c WHERE c.attrelid = r.oid AND c.attnum = ANY (i.indkey)
), false, false
FROM relations r JOIN pg_index i ON i.indrelid = r.oid AND i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL
WHERE r.how = 'k' AND (r.relkind = 'p' OR NOT EXISTS (SELECT FROM pg_inherits h WHERE h.inhparent = r.oid))
UNION ALL
SELECT r.how, r.schema, r.name, r.path, pg_get_ruledef(w.oid), false, false
FROM relations r JOIN pg_rewrite w ON w.ev_class = r.oid
	AND w.ev_type = CASE r.how WHEN 'U' THEN '2' WHEN 'I' THEN '3' WHEN 'D' THEN '4' END`
