// What the Node clients share. They print one JSON document a line.

export function show(step, ...values) {
  console.log(JSON.stringify([step, ...values]));
}

// code is what the client sees of an error.
export async function code(promise) {
  try {
    await promise;
  } catch (e) {
    return `${e.name} ${e.code ?? e.original?.code ?? e.message}`;
  }
  return "no error";
}
