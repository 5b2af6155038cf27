// What the image runs: `isthmus-image ROLE --config FILE [--set key=value ...]`. The role goes on
// in this very process, so that signals reach it.
const programs: Readonly<Record<string, string>> = {
  coordinator: "../../coordinator/main.ts",
  region: "../../region/main.ts",
  "edge-node": "../../edge-node/main.ts",
  wan: "../wan/main.ts",
  load: "../load/main.ts",
  demo: "../demo/main.ts",
};
const EXIT_USAGE = 2;

const [role = ""] = process.argv.splice(2, 1);
const program = Object.hasOwn(programs, role) ? programs[role] : undefined;
if (program === undefined) {
  const roles = Object.keys(programs).join(", ");
  process.stderr.write(`isthmus-image: say which role to run (${roles}), not "${role}"\n`);
  process.exit(EXIT_USAGE);
}
await import(program);
