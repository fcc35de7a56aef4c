// The gate's API.

export type Attr = { key: string; value: string };
export type Text = { head: string; hidden?: number; tail?: string; bytes: number };
export type Principal = { issuer: string; subject: string; name: string; groups: string[] };
export type Me = Principal & { auditor: boolean; tracks: boolean; expires?: string };

export type Approval = {
  id: string;
  digest: string;
  session: string;
  exchange: number;
  resource: string;
  protocol: string;
  gate: string;
  client: string;
  principal: Principal;
  operation: string;
  statement: Text;
  params: (Text | null)[];
  params_hidden?: number;
  labels: Attr[];
  attrs: Attr[];
  rule: string;
  reason: string;
  approvers: string[];
  since: string;
  expires: string;
  remaining_ms: number;
  may_decide: boolean;
  /** The columns whose values may be among what is masked. */
  masked?: string[];
  may_reveal?: boolean;
  why_not?: string;
};

/** What is masked in an approval, as the server gets it. */
export type Revealed = { statement: Text; params: (Text | null)[] };

export type Ending = { id: string; how: string; by?: string; comment?: string; at?: string };

/** A statement that stored protected values, the first of a principal. */
export type Cause = { session: string; exchange: number; principal: Principal; at: string; statement: string };

/** A column that is protected since protected values were stored there. */
export type Tracked = {
  id: string;
  resource: string;
  database: string;
  column: string;
  from: string[];
  computed: boolean;
  state: string;
  temporary?: boolean;
  causes: Cause[];
  may_lift: boolean;
  why_not?: string;
};

export type TrackedColumns = { tracked: Tracked[] };

/** What was lifted, and the session of which the recording says so. */
export type Lifted = { resource: string; column: string; session: string };

/** A time in which the store takes no recordings. */
export type Outage = { since: string; why: Text };

/** A plugin that keeps failing: all requests that need it are refused. */
export type Failing = { plugin: string; since: string; why: Text };

export type Session = {
  id: string;
  gate: string;
  protocol: string;
  resource: string;
  policy: string;
  principal: Principal;
  client: string;
  attrs: Attr[];
  start: string;
  end?: string;
  why?: string;
  bytes?: number;
};

export type SessionPage = { sessions: Session[]; next?: string };

/** Its code is "shadow" where a plugin in shadow would have done what it says. */
export type Note = { code: string; plugin?: string; text: Text; time: string };
export type Verdict = { action: string; rule: string; reason: string; time: string };
export type Decision = { approved: boolean; by?: string; comment?: string; time: string };
export type Field = { name: string; type?: string; origins?: string[]; lineage?: string; /** Why that is not known, or what a computed value lacks. */ why?: string; treatment?: string; rule?: string };
export type Result = { fields: Field[]; rows: (Text | null)[][]; from?: number; total: number; /** Whether the client sent it. */ upload?: boolean };
export type Outcome = { status: string; tag?: string; code?: string; rows: number; time: string };

export type Exchange = {
  id: number;
  time: string;
  operation: string;
  statement: Text;
  params: (Text | null)[];
  labels: Attr[];
  attrs: Attr[];
  verdicts: Verdict[];
  pending?: string;
  decisions: Decision[];
  results: Result[];
  messages: Note[];
  outcomes: Outcome[];
  hidden?: number;
};

export type SessionView = {
  session: Session;
  totals: { exchanges: number; blocked: number; held: number; rows: number };
  exchanges: Exchange[];
  next?: number;
  notices: Note[];
  hidden?: number;
  broken?: boolean;
};

/** What the gate refused, with what to do next. */
export class Problem extends Error {
  constructor(
    readonly status: number,
    readonly title: string,
    readonly detail: string,
  ) {
    super(`${title}: ${detail}`);
  }
}

/** Asks the gate: GET, or POST if there is a body. */
export async function ask<T>(path: string, body?: unknown): Promise<T> {
  const post = { method: "POST", body: JSON.stringify(body), headers: { "Content-Type": "application/json", "Gatehouse-Request": "1" } };
  let response: Response;
  try {
    response = await fetch(path, body === undefined ? {} : post);
  } catch {
    throw new Problem(0, "the gate cannot be reached", "try again");
  }
  if (response.ok) return (await response.json()) as T;
  const p = (await response.json().catch(() => ({}))) as { title?: string; detail?: string };
  throw new Problem(response.status, p.title ?? "the gate could not answer", p.detail ?? "try again");
}
