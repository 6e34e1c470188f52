// Takes a token of a managed identity with Azure's SDK, as its order says, and prints it.

import { ManagedIdentityCredential } from "@azure/identity";

const selectors = {
  "system-assigned": () => ({}),
  client_id: (clientId) => ({ clientId }),
  object_id: (objectId) => ({ objectId }),
  msi_res_id: (resourceId) => ({ resourceId }),
};

async function outcome({ select, id, scope }) {
  const credential = new ManagedIdentityCredential(selectors[select](id));
  try {
    const { token, expiresOnTimestamp } = await credential.getToken(scope);
    return { token, expires_on: Math.floor(expiresOnTimestamp / 1000) };
  } catch (error) {
    return { error: error.message };
  }
}

console.log(JSON.stringify(await outcome(JSON.parse(process.argv[2]))));
