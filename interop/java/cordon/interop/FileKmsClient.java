package cordon.interop;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermission;
import java.security.GeneralSecurityException;
import java.security.SecureRandom;
import java.util.Base64;
import java.util.EnumSet;
import java.util.HexFormat;
import java.util.Set;
import javax.crypto.Cipher;
import javax.crypto.spec.GCMParameterSpec;
import javax.crypto.spec.SecretKeySpec;
import org.apache.hadoop.conf.Configuration;
import org.apache.parquet.crypto.KeyAccessDeniedException;
import org.apache.parquet.crypto.ParquetCryptoRuntimeException;
import org.apache.parquet.crypto.keytools.KmsClient;

/**
 * Master keys of encrypted Parquet in files, for where there is no key store: whoever reads such a file has the key, so a store is better.
 * Needs the JDK only.
 *
 * <p>For each master key the property {@code cordon.kms.key.file.<id>} of the Hadoop configuration names a file with 64 hexadecimal
 * digits that only its owner can read, on every executor. A data key is wrapped as base64(nonce ‖ AES-256-GCM(master key, aad = id, data
 * key) ‖ tag), which is what a source with {@code encryption: { key-files: … }} opens.
 */
public final class FileKmsClient implements KmsClient {
  private static final int NONCE = 12;
  private static final int TAG_BITS = 128;
  private static final Set<PosixFilePermission> OTHERS =
      EnumSet.of(
          PosixFilePermission.GROUP_READ,
          PosixFilePermission.GROUP_WRITE,
          PosixFilePermission.OTHERS_READ,
          PosixFilePermission.OTHERS_WRITE);

  private final SecureRandom random = new SecureRandom();
  private Configuration configuration;

  @Override
  public void initialize(Configuration configuration, String instanceId, String instanceUrl, String accessToken) {
    this.configuration = configuration;
  }

  @Override
  public String wrapKey(byte[] keyBytes, String masterKeyId) {
    byte[] nonce = new byte[NONCE];
    random.nextBytes(nonce);
    byte[] sealed = apply(Cipher.ENCRYPT_MODE, masterKeyId, nonce, keyBytes, 0);
    byte[] wrapped = new byte[NONCE + sealed.length];
    System.arraycopy(nonce, 0, wrapped, 0, NONCE);
    System.arraycopy(sealed, 0, wrapped, NONCE, sealed.length);
    return Base64.getEncoder().encodeToString(wrapped);
  }

  @Override
  public byte[] unwrapKey(String wrappedKey, String masterKeyId) {
    byte[] wrapped;
    try {
      wrapped = Base64.getDecoder().decode(wrappedKey);
    } catch (IllegalArgumentException error) {
      throw new ParquetCryptoRuntimeException("the key was not wrapped by a key in a file");
    }
    if (wrapped.length < NONCE + TAG_BITS / 8) {
      throw new ParquetCryptoRuntimeException("the key was not wrapped by a key in a file");
    }
    byte[] nonce = new byte[NONCE];
    System.arraycopy(wrapped, 0, nonce, 0, NONCE);
    return apply(Cipher.DECRYPT_MODE, masterKeyId, nonce, wrapped, NONCE);
  }

  private byte[] apply(int mode, String masterKeyId, byte[] nonce, byte[] input, int from) {
    try {
      Cipher cipher = Cipher.getInstance("AES/GCM/NoPadding");
      cipher.init(mode, new SecretKeySpec(master(masterKeyId), "AES"), new GCMParameterSpec(TAG_BITS, nonce));
      cipher.updateAAD(masterKeyId.getBytes(StandardCharsets.UTF_8));
      return cipher.doFinal(input, from, input.length - from);
    } catch (GeneralSecurityException error) {
      // Its own text may say more than that.
      throw new KeyAccessDeniedException("the key in the file of " + masterKeyId + " is not the one that wrapped this");
    }
  }

  private byte[] master(String id) {
    String name = configuration.getTrimmed("cordon.kms.key.file." + id, "");
    if (name.isEmpty()) {
      throw new KeyAccessDeniedException("cordon.kms.key.file." + id + " names no file");
    }
    Path file = Path.of(name);
    byte[] key;
    try {
      if (Files.getPosixFilePermissions(file).stream().anyMatch(OTHERS::contains)) {
        throw new KeyAccessDeniedException("others than its owner can use " + file + ": a key file has mode 0600");
      }
      key = HexFormat.of().parseHex(Files.readString(file, StandardCharsets.US_ASCII).trim());
    } catch (IOException | IllegalArgumentException error) {
      throw new KeyAccessDeniedException(file + " cannot be read as a key: " + error.getClass().getSimpleName());
    }
    if (key.length != 32) {
      throw new KeyAccessDeniedException(file + " holds no key of 64 hexadecimal digits");
    }
    return key;
  }
}
