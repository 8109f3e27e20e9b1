package cordon.interop;

import java.io.FileInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyStore;
import java.security.cert.Certificate;
import java.security.cert.CertificateFactory;
import java.time.Duration;
import java.util.Base64;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;
import org.apache.hadoop.conf.Configuration;
import org.apache.parquet.crypto.KeyAccessDeniedException;
import org.apache.parquet.crypto.ParquetCryptoRuntimeException;
import org.apache.parquet.crypto.keytools.KmsClient;

/**
 * Master keys of encrypted Parquet in the transit engine of OpenBao or HashiCorp Vault; the id of a master key is the name of the
 * transit key. Needs the JDK only.
 *
 * <p>Properties of the Hadoop configuration: {@code cordon.kms.address}, {@code cordon.kms.mount} (transit),
 * {@code cordon.kms.namespace}, {@code cordon.kms.ca.file} (PEM), {@code cordon.kms.token.file}. Without a file the token is that of
 * {@code parquet.encryption.key.access.token}, of {@code BAO_TOKEN} or of {@code VAULT_TOKEN}. The address that a file names is never
 * asked: who writes a file would be sent the token.
 */
public final class TransitKmsClient implements KmsClient {
  private static final Pattern CIPHERTEXT = Pattern.compile("\"ciphertext\"\\s*:\\s*\"([A-Za-z0-9+/=:]+)\"");
  private static final Pattern PLAINTEXT = Pattern.compile("\"plaintext\"\\s*:\\s*\"([A-Za-z0-9+/=]+)\"");
  private static final Pattern KEY_ID = Pattern.compile("[A-Za-z0-9_-][A-Za-z0-9._-]*");
  private static final Pattern WRAPPED = Pattern.compile("vault:v[0-9]+:[A-Za-z0-9+/=]+");

  private Configuration configuration;
  private String address;
  private String mount;
  private String accessToken;
  private HttpClient http;

  @Override
  public void initialize(Configuration configuration, String instanceId, String instanceUrl, String accessToken) {
    this.configuration = configuration;
    this.accessToken = accessToken;
    address = configuration.getTrimmed("cordon.kms.address", "").replaceAll("/+$", "");
    mount = configuration.getTrimmed("cordon.kms.mount", "transit");
    URI uri = URI.create(address);
    String host = uri.getHost() == null ? "" : uri.getHost();
    boolean local = host.equals("localhost") || host.equals("127.0.0.1") || host.equals("[::1]");
    if (!"https".equals(uri.getScheme()) && !("http".equals(uri.getScheme()) && local)) {
      throw new ParquetCryptoRuntimeException("cordon.kms.address has to begin with https://");
    }
    HttpClient.Builder builder =
        HttpClient.newBuilder().connectTimeout(Duration.ofSeconds(10)).followRedirects(HttpClient.Redirect.NEVER);
    String caFile = configuration.getTrimmed("cordon.kms.ca.file", "");
    if (!caFile.isEmpty()) {
      builder.sslContext(trusting(caFile));
    }
    http = builder.build();
  }

  @Override
  public String wrapKey(byte[] keyBytes, String masterKeyId) {
    String plaintext = Base64.getEncoder().encodeToString(keyBytes);
    return ask("encrypt", masterKeyId, "{\"plaintext\":\"" + plaintext + "\"}", CIPHERTEXT);
  }

  @Override
  public byte[] unwrapKey(String wrappedKey, String masterKeyId) {
    if (!WRAPPED.matcher(wrappedKey).matches()) {
      throw new ParquetCryptoRuntimeException("the key was not wrapped by a transit engine");
    }
    return Base64.getDecoder().decode(ask("decrypt", masterKeyId, "{\"ciphertext\":\"" + wrappedKey + "\"}", PLAINTEXT));
  }

  private String ask(String operation, String masterKeyId, String body, Pattern wanted) {
    if (!KEY_ID.matcher(masterKeyId).matches()) {
      throw new ParquetCryptoRuntimeException("the id of the master key is no name of a transit key");
    }
    HttpRequest.Builder request =
        HttpRequest.newBuilder(URI.create(address + "/v1/" + mount + "/" + operation + "/" + masterKeyId))
            .timeout(Duration.ofSeconds(30))
            .header("X-Vault-Token", token())
            .header("X-Vault-Request", "true")
            .header("Content-Type", "application/json")
            .POST(HttpRequest.BodyPublishers.ofString(body));
    String namespace = configuration.getTrimmed("cordon.kms.namespace", "");
    if (!namespace.isEmpty()) {
      request.header("X-Vault-Namespace", namespace);
    }
    HttpResponse<String> answer;
    try {
      answer = http.send(request.build(), HttpResponse.BodyHandlers.ofString());
    } catch (IOException error) {
      throw new ParquetCryptoRuntimeException(address + " cannot be reached: " + error.getClass().getSimpleName());
    } catch (InterruptedException error) {
      Thread.currentThread().interrupt();
      throw new ParquetCryptoRuntimeException("interrupted while waiting for " + address);
    }
    // What the store says besides its status is not repeated: it may quote what was sent.
    String place = "transit key " + masterKeyId + " at " + address + "/" + mount;
    if (answer.statusCode() == 403) {
      throw new KeyAccessDeniedException(place + ": the token may not " + operation + " with it, or is not valid");
    }
    Matcher found = wanted.matcher(answer.body());
    if (answer.statusCode() != 200 || !found.find()) {
      throw new ParquetCryptoRuntimeException(place + ": " + operation + " was answered with status " + answer.statusCode());
    }
    return found.group(1);
  }

  private String token() {
    String file = configuration.getTrimmed("cordon.kms.token.file", "");
    if (!file.isEmpty()) {
      try {
        return Files.readString(Path.of(file), StandardCharsets.US_ASCII).trim();
      } catch (IOException error) {
        throw new ParquetCryptoRuntimeException("cannot read cordon.kms.token.file: " + error.getClass().getSimpleName());
      }
    }
    // parquet-java says DEFAULT where no token is set.
    if (accessToken != null && !accessToken.isEmpty() && !accessToken.equals("DEFAULT")) {
      return accessToken;
    }
    for (String name : new String[] {"BAO_TOKEN", "VAULT_TOKEN"}) {
      String value = System.getenv(name);
      if (value != null && !value.isEmpty()) {
        return value;
      }
    }
    throw new KeyAccessDeniedException("no token: set cordon.kms.token.file or BAO_TOKEN");
  }

  private static SSLContext trusting(String caFile) {
    try (InputStream file = new FileInputStream(caFile)) {
      KeyStore store = KeyStore.getInstance(KeyStore.getDefaultType());
      store.load(null, null);
      int index = 0;
      for (Certificate certificate : CertificateFactory.getInstance("X.509").generateCertificates(file)) {
        store.setCertificateEntry("ca" + index++, certificate);
      }
      TrustManagerFactory trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
      trust.init(store);
      SSLContext context = SSLContext.getInstance("TLS");
      context.init(null, trust.getTrustManagers(), null);
      return context;
    } catch (Exception error) {
      throw new ParquetCryptoRuntimeException("cordon.kms.ca.file cannot be used: " + error.getClass().getSimpleName());
    }
  }
}
