// How the tests run: TypeScript by Node's own type stripping, one process a file.
export default {
  extensions: ["ts"],
  files: ["test/**/*.test.ts"],
  workerThreads: false, // native libraries must not be unloaded and loaded again in one process
  concurrency: 2,
  timeout: "5m",
};
