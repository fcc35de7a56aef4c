import { execFileSync } from "node:child_process";

export const server = "test-results/devserver";

/** Builds the page, and the server that the tests run against. */
export default function build(): void {
  execFileSync("npx", ["vite", "build", "--logLevel", "warn"], { stdio: "inherit" });
  execFileSync("go", ["build", "-o", server, "../internal/devserver"], { stdio: "inherit" });
}
