CREATE SCHEMA a; CREATE SCHEMA b; CREATE SCHEMA closed;
CREATE TYPE public.mood AS ENUM ('sad', 'ok');
CREATE DOMAIN public.label AS text;
CREATE DOMAIN public.small AS int2;
CREATE DOMAIN public.tiny AS public.small;
CREATE DOMAIN public.labels AS text[];
CREATE TYPE public.pair AS (x int, y text);
CREATE TYPE a.own AS (x int);
CREATE TYPE public.spread AS RANGE (subtype = float8);
CREATE TABLE public.t (
	i2 int2, i4 int4, i8 int8, n numeric, f4 float4, f8 float8, tx text, vc varchar(20), bp char(3), nm name, c1 "char",
	d date, tm time, ts timestamp, tz timestamptz, iv interval, bo boolean, js json, jb jsonb, u uuid, ba bytea,
	ia int4[], i8a int8[], ta text[], va varchar[], na numeric[], en public.mood, ena public.mood[],
	dt public.label, di public.small, dd public.tiny, da public.labels, p public.pair, ow a.own,
	r4 int4range, rn numrange, rs public.spread, mr int4multirange, o oid, rc regclass, ip inet, ci cidr, mo money, bi bit(3), vb varbit, pt point, tv tsvector, tq tsquery);

-- one name in several schemas
CREATE FUNCTION a.f(int4) RETURNS int4 LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION a.f(text) RETURNS text LANGUAGE sql AS 'SELECT 1::text';
CREATE FUNCTION a.f(date) RETURNS date LANGUAGE sql AS 'SELECT $1';
CREATE FUNCTION b.f(int8) RETURNS int8 LANGUAGE sql AS 'SELECT 1::int8';
CREATE FUNCTION b.f(text) RETURNS varchar LANGUAGE sql AS 'SELECT 1::varchar';
CREATE FUNCTION b.f(anyelement) RETURNS anyelement LANGUAGE sql AS 'SELECT $1';
CREATE FUNCTION public.f(numeric) RETURNS numeric LANGUAGE sql AS 'SELECT $1';
CREATE FUNCTION public.f(varchar) RETURNS int4 LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION public.f(anyarray) RETURNS anyelement LANGUAGE sql AS 'SELECT $1[1]';
CREATE FUNCTION public.f(public.label) RETURNS public.label LANGUAGE sql AS 'SELECT $1';
CREATE FUNCTION public.f(timestamptz) RETURNS timestamptz LANGUAGE sql AS 'SELECT $1';
CREATE FUNCTION closed.f(int4) RETURNS bool LANGUAGE sql AS 'SELECT true';

-- two arguments
CREATE FUNCTION a.g(int4, text) RETURNS int4 LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION a.g(text, int4) RETURNS text LANGUAGE sql AS 'SELECT 1::text';
CREATE FUNCTION a.g(float8, float8) RETURNS float8 LANGUAGE sql AS 'SELECT 1::float8';
CREATE FUNCTION b.g(text, text) RETURNS text LANGUAGE sql AS 'SELECT 1::text';
CREATE FUNCTION b.g(anycompatible, anycompatible) RETURNS anycompatible LANGUAGE sql AS 'SELECT $1';
CREATE FUNCTION public.g(int8, int8) RETURNS int8 LANGUAGE sql AS 'SELECT 1::int8';
CREATE FUNCTION public.g(anyelement, anyarray) RETURNS anyarray LANGUAGE sql AS 'SELECT $2';
CREATE FUNCTION public.g(anyrange, anyelement) RETURNS anyrange LANGUAGE sql AS 'SELECT $1';
CREATE FUNCTION public.g(jsonb, text) RETURNS jsonb LANGUAGE sql AS 'SELECT $1';
CREATE FUNCTION public.g(timestamptz, interval) RETURNS timestamptz LANGUAGE sql AS 'SELECT $1';
CREATE FUNCTION public.g(date, interval) RETURNS date LANGUAGE sql AS 'SELECT $1';

-- defaults, VARIADIC, names
CREATE FUNCTION a.h(x int4, y text DEFAULT 'y') RETURNS int4 LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION b.h(x int4) RETURNS int8 LANGUAGE sql AS 'SELECT 1::int8';
CREATE FUNCTION b.h(x text, z int4 DEFAULT 1, y text DEFAULT 'y') RETURNS text LANGUAGE sql AS 'SELECT 1::text';
CREATE FUNCTION public.h(VARIADIC xs int4[]) RETURNS bool LANGUAGE sql AS 'SELECT true';
CREATE FUNCTION public.h(x text, VARIADIC xs text[]) RETURNS bool LANGUAGE sql AS 'SELECT true';
CREATE FUNCTION public.h(y numeric, x numeric) RETURNS numeric LANGUAGE sql AS 'SELECT 1.0';
CREATE FUNCTION a.h(VARIADIC xs anyarray) RETURNS anyelement LANGUAGE sql AS 'SELECT $1[1]';
CREATE FUNCTION a.k() RETURNS int4 LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION b.k(x int4 DEFAULT 1) RETURNS int8 LANGUAGE sql AS 'SELECT 1::int8';

-- names of PostgreSQL's own
CREATE FUNCTION public.upper(varchar) RETURNS text LANGUAGE sql AS 'SELECT 1::text';
CREATE FUNCTION a.upper(text) RETURNS text LANGUAGE sql AS 'SELECT 1::text';
CREATE FUNCTION b.upper(a.own) RETURNS text LANGUAGE sql AS 'SELECT 1::text';
CREATE FUNCTION public.lower(public.label) RETURNS text LANGUAGE sql AS 'SELECT 1::text';
CREATE FUNCTION a.count(int4) RETURNS int8 LANGUAGE sql AS 'SELECT 1::int8';
CREATE AGGREGATE b.sum(text) (sfunc = textcat, stype = text);
CREATE FUNCTION public.abs(text) RETURNS text LANGUAGE sql AS 'SELECT 1::text';
CREATE FUNCTION a.abs(int4) RETURNS int4 LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION public.length(anyelement) RETURNS int4 LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION b.length(varchar) RETURNS int4 LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION public.round(numeric, int8) RETURNS numeric LANGUAGE sql AS 'SELECT 1.0';
CREATE FUNCTION a.date_trunc(varchar, date) RETURNS date LANGUAGE sql AS 'SELECT $2';
CREATE FUNCTION public.concat(text, text) RETURNS text LANGUAGE sql AS 'SELECT 1::text';
CREATE FUNCTION public.text(int4) RETURNS text LANGUAGE sql AS 'SELECT 1::text';

-- operators
CREATE FUNCTION public.same(a.own, a.own) RETURNS bool LANGUAGE sql AS 'SELECT true';
CREATE FUNCTION public.same(varchar, varchar) RETURNS bool LANGUAGE sql AS 'SELECT true';
CREATE FUNCTION public.same(int4, text) RETURNS bool LANGUAGE sql AS 'SELECT true';
CREATE FUNCTION public.same(text, text) RETURNS bool LANGUAGE sql AS 'SELECT true';
CREATE FUNCTION public.same(anyelement, anyelement) RETURNS bool LANGUAGE sql AS 'SELECT true';
CREATE FUNCTION public.plus(text, text) RETURNS text LANGUAGE sql AS 'SELECT 1::text';
CREATE FUNCTION public.plus(date, int8) RETURNS date LANGUAGE sql AS 'SELECT $1';
CREATE FUNCTION public.minus(text) RETURNS text LANGUAGE sql AS 'SELECT 1::text';
CREATE OPERATOR public.= (leftarg = a.own, rightarg = a.own, function = public.same);
CREATE OPERATOR a.= (leftarg = varchar, rightarg = varchar, function = public.same);
CREATE OPERATOR b.= (leftarg = int4, rightarg = text, function = public.same);
CREATE OPERATOR a.= (leftarg = text, rightarg = text, function = public.same);
CREATE OPERATOR b.~~ (leftarg = varchar, rightarg = varchar, function = public.same);
CREATE OPERATOR a.<< (leftarg = anyelement, rightarg = anyelement, function = public.same);
CREATE OPERATOR public.+ (leftarg = text, rightarg = text, function = public.plus);
CREATE OPERATOR b.+ (leftarg = date, rightarg = int8, function = public.plus);
CREATE OPERATOR a.|| (leftarg = text, rightarg = text, function = public.plus);
CREATE OPERATOR public.- (rightarg = text, function = public.minus);
CREATE OPERATOR a.@#@ (leftarg = varchar, rightarg = varchar, function = public.same);
CREATE OPERATOR b.@#@ (leftarg = text, rightarg = text, function = public.same);
CREATE OPERATOR public.@#@ (leftarg = int4, rightarg = text, function = public.same);

-- a cast by which other functions can be given a value
CREATE FUNCTION public.made(a.own) RETURNS text LANGUAGE sql AS 'SELECT 1::text';
CREATE CAST (a.own AS text) WITH FUNCTION public.made(a.own) AS IMPLICIT;

CREATE FUNCTION public.probe(anyelement) RETURNS int4 LANGUAGE sql AS 'SELECT 1';
