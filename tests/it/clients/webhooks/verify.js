// Checks messages, one JSON object a line, with the reference library. Usage: node verify.js FILE

const { readFileSync } = require("node:fs");
const { Webhook } = require("standardwebhooks");

let count = 0;
for (const line of readFileSync(process.argv[2], "utf8").split("\n").filter(Boolean)) {
  const { secret, body, headers } = JSON.parse(line);
  const webhook = new Webhook(secret);
  webhook.verify(body, headers);
  for (const [text, head] of [[body + " ", headers], [body, { ...headers, "webhook-id": "evt_other" }]]) {
    let refused = false;
    try {
      webhook.verify(text, head);
    } catch {
      refused = true;
    }
    if (!refused) throw new Error("a message that was changed is accepted");
  }
  count += 1;
}
console.log(`accepted ${count}`);
