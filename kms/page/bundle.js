// Makes age.js of the published packages that package-lock.json names, in a form that can be read; their licences come first.
//
//   node bundle.js           writes it
//   node bundle.js --check   fails if it is not, byte for byte, what these packages make
import { readFile, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const PACKAGES = ["age-encryption", "@noble/ciphers", "@noble/curves", "@noble/hashes", "@noble/post-quantum", "@scure/base"];
const OUT = new URL("age.js", import.meta.url);
const HERE = fileURLToPath(new URL(".", import.meta.url));

const licences = await Promise.all(
  PACKAGES.map(async (name) => {
    const folder = new URL(`node_modules/${name}/`, import.meta.url);
    const { version } = JSON.parse(await readFile(new URL("package.json", folder), "utf8"));
    return `${name} ${version}\n\n${(await readFile(new URL("LICENSE", folder), "utf8")).trim()}\n`;
  }),
);
const { outputFiles } = await build({
  stdin: {
    contents: 'export { Encrypter } from "age-encryption"; export { sha256 } from "@noble/hashes/sha2.js";',
    resolveDir: HERE,
  },
  // Names of files are said in comments, as they are seen from here.
  absWorkingDir: HERE,
  bundle: true,
  format: "esm",
  target: "es2022",
  charset: "utf8",
  legalComments: "inline",
  banner: { js: `/*!\nMade by bundle.js. Not to be changed by hand.\n\n${licences.join("\n")}*/` },
  write: false,
});
const [{ contents }] = outputFiles;

if (process.argv[2] !== "--check") {
  await writeFile(OUT, contents);
} else if (!(await readFile(OUT)).equals(contents)) {
  console.error("age.js is not what the locked packages make: run `npm ci && node bundle.js` in kms/page");
  process.exit(1);
}
