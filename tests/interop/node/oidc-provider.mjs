// Runs `oidc-provider` with new keys, as its order says, and prints how to get a token from it.
// It ends when nobody holds its standard input any more.

import { generateKeyPairSync } from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:http";
import { createServer as createTlsServer } from "node:https";

import Provider from "oidc-provider";

const { audience, algorithms, client, port, scopes, tls } = JSON.parse(process.argv[2]);

const kinds = {
  RS256: ["rsa", { modulusLength: 2048 }],
  PS256: ["rsa", { modulusLength: 2048 }],
  ES256: ["ec", { namedCurve: "P-256" }],
  EdDSA: ["ed25519", {}],
};

function key(alg) {
  const { privateKey } = generateKeyPairSync(...kinds[alg]);
  return { ...privateKey.export({ format: "jwk" }), alg, use: "sig" };
}

// Each algorithm is a resource of its own, so that a client can ask for it (RFC 8707).
const resource = (alg) => `https://gateway.example/${alg}`;

function resourceServer(asked) {
  const alg = algorithms.find((alg) => resource(alg) === asked);
  return { scope: scopes, audience, accessTokenFormat: "jwt", jwt: { sign: { alg } } };
}

async function listen(server, port) {
  server.listen(port, "127.0.0.1");
  await once(server, "listening");
  return server.address().port;
}

// With a certificate, plain HTTP is a second door, for those who only want a token.
const plain = createServer();
const servers = tls ? [plain, createTlsServer(tls)] : [plain];
const door = `http://127.0.0.1:${await listen(plain, tls ? 0 : port)}`;
const issuer = tls ? `https://localhost:${await listen(servers[1], port)}` : door;
const provider = new Provider(issuer, {
  clients: [{ ...client, grant_types: ["client_credentials"], redirect_uris: [], response_types: [] }],
  features: {
    clientCredentials: { enabled: true },
    devInteractions: { enabled: false },
    resourceIndicators: {
      enabled: true,
      getResourceServerInfo: (_, asked) => resourceServer(asked),
    },
  },
  jwks: { keys: algorithms.map(key) },
});
for (const server of servers) server.on("request", provider.callback());

const orders = algorithms.map((alg) => [alg, { resource: resource(alg) }]);
console.log(JSON.stringify({ issuer, door, orders: Object.fromEntries(orders) }));
process.stdin.resume().on("end", () => process.exit());
