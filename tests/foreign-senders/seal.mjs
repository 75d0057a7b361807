// Encrypts stdin to the recipients given as arguments and writes the age file to stdout, as a browser would.
// With --armor first, the file is armored.
import { Encrypter, armor } from "age-encryption";
import { buffer } from "node:stream/consumers";

const recipients = process.argv.slice(2);
const armored = recipients[0] === "--armor";
if (armored) recipients.shift();
if (recipients.length === 0) {
  console.error("usage: node seal.mjs [--armor] RECIPIENT... < plaintext > file.age");
  process.exit(2);
}

const encrypter = new Encrypter();
for (const recipient of recipients) encrypter.addRecipient(recipient);
const sealed = await encrypter.encrypt(new Uint8Array(await buffer(process.stdin)));
process.stdout.write(armored ? armor.encode(sealed) : sealed);
