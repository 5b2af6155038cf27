// How the tests run: TypeScript by Node's own type stripping, one process a file.
export default {
  extensions: ["ts"],
  files: ["test/**/*.test.ts"],
  concurrency: 2,
  timeout: "5m",
};
