// What a module exports to the host. A plugin has it by
// export * from "…/assembly/guest".

import { Edit, registered, registeredHooks } from "./index";
import {
  answer, bad, beginAnswer, putDetectors, putEdits, putNote, putProblem, putState, putTreatments, putVerdict,
  readBatch, readConfig, readHead, readMessage, readOutcome, readRequest, readSession,
} from "./wire";

let at: usize = 0;
let capacity: usize = 0;

export function abi_version(): i32 {
  return 1 << 16;
}

export function hooks(): i32 {
  return registeredHooks;
}

export function buffer(n: usize): usize {
  if (n > capacity) {
    if (at) heap.free(at);
    at = heap.alloc(n);
    capacity = n;
  }
  return at;
}

// Begins a call with an input of n bytes. Nothing is on the stack, so that what
// the last call left can be freed.
function begin(n: usize): void {
  __collect();
  beginAnswer();
  readMessage(at, min(n, capacity));
}

export function configure(n: usize): i64 {
  begin(n);
  const config = readConfig();
  if (bad) return -1;
  const problem = registered.configure(config);
  if (problem) putProblem(problem);
  else putDetectors(registered.detectors());
  return answer();
}

export function on_open(n: usize): i64 {
  begin(n);
  const session = readSession();
  if (bad) return -1;
  putState(registered.open(session));
  return answer();
}

export function on_request(n: usize): i64 {
  begin(n);
  const session = readSession();
  const request = readRequest();
  if (bad) return -1;
  putVerdict(registered.request(session, request));
  return answer();
}

export function on_head(n: usize): i64 {
  begin(n);
  const session = readSession();
  const head = readHead();
  if (bad) return -1;
  putTreatments(registered.head(session, head));
  return answer();
}

export function on_rows(n: usize): i64 {
  begin(n);
  const batch = readBatch();
  if (bad) return -1;
  const edits: Edit[] = [];
  registered.rows(batch, edits);
  putEdits(edits);
  return answer();
}

export function on_upload(n: usize): i64 {
  begin(n);
  const session = readSession();
  const batch = readBatch();
  if (bad) return -1;
  putVerdict(registered.upload(session, batch));
  return answer();
}

export function on_end(n: usize): i64 {
  begin(n);
  const session = readSession();
  const outcome = readOutcome();
  if (bad) return -1;
  putNote(registered.end(session, outcome));
  return answer();
}

export function on_close(n: usize): i64 {
  begin(n);
  const session = readSession();
  if (bad) return -1;
  putNote(registered.close(session));
  return answer();
}
