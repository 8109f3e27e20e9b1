// An OpenID Connect provider whose clients get JWT access tokens for themselves.
// provider.mjs MODULE PORT KEY CERTIFICATE PUBLIC_KEY_OUT ALGORITHM
import fs from 'node:fs';
import https from 'node:https';
import { generateKeyPairSync } from 'node:crypto';

const [, , module, port, key, certificate, out, alg] = process.argv;
const { default: Provider } = await import(module);
const made = alg === 'ES256' ? generateKeyPairSync('ec', { namedCurve: 'P-256' }) : alg === 'EdDSA'
  ? generateKeyPairSync('ed25519') : generateKeyPairSync('rsa', { modulusLength: 2048 });
fs.writeFileSync(out, made.publicKey.export({ type: 'spki', format: 'pem' }));
const signing = { ...made.privateKey.export({ format: 'jwk' }), kid: `key-${Date.now()}`, use: 'sig', alg };

const client = (id) => ({
  client_id: id, client_secret: `secret of ${id} that is long enough`, grant_types: ['client_credentials'],
  redirect_uris: [], response_types: [], token_endpoint_auth_method: 'client_secret_post',
});
const provider = new Provider(`https://localhost:${port}`, {
  clients: ['ana', 'ben', 'ida', 'short'].map(client),
  jwks: { keys: [signing] },
  enabledJWA: { idTokenSigningAlgValues: ['RS256', 'ES256', 'PS256', 'EdDSA', 'Ed25519'] },
  clientDefaults: { id_token_signed_response_alg: alg === 'EdDSA' ? 'EdDSA' : alg },
  cookies: { keys: ['for tests only'] },
  features: {
    devInteractions: { enabled: false },
    clientCredentials: { enabled: true },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => 'urn:cordon',
      getResourceServerInfo: (ctx, resource, asking) => ({
        scope: 'read', audience: resource, accessTokenFormat: 'jwt',
        accessTokenTTL: asking.clientId === 'short' ? 8 : 300, jwt: { sign: { alg } },
      }),
      useGrantedResource: () => true,
    },
  },
  extraTokenClaims: (ctx, token) => ({ groups: ['researchers'], amr: token.clientId === 'ida' ? ['pwd', 'mfa'] : ['pwd'] }),
});
https.createServer({ key: fs.readFileSync(key), cert: fs.readFileSync(certificate) }, provider.callback())
  .listen(Number(port), '127.0.0.1', () => console.log('listening'));
