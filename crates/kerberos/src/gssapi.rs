//! The calls into the system's GSS-API (RFC 2744), and nothing else.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;
use std::sync::OnceLock;

use libloading::Library;

use crate::{Accepted, KerberosError};

/// MIT's, by the name that stays when its version changes.
const LIBRARY: &str = "libgssapi_krb5.so.2";

/// 1.2.840.113554.1.2.2
const KRB5: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x12, 0x01, 0x02, 0x02];
/// 1.3.6.1.5.5.2
const SPNEGO: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x02];
/// 1.2.840.113554.1.2.1.4
const HOSTBASED_SERVICE: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x12, 0x01, 0x02, 0x01, 0x04];

/// 1.2.840.113554.1.2.2.1
const KRB5_PRINCIPAL: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x12, 0x01, 0x02, 0x02, 0x01];

const INITIATE: c_int = 1;
const ACCEPT: c_int = 2;
const INDEFINITE: u32 = 0xffff_ffff;

const CONTINUE_NEEDED: u32 = 1;
const DUPLICATE_TOKEN: u32 = 2;
const OLD_TOKEN: u32 = 4;
const ROUTINE_ERRORS: u32 = 0x00ff_0000;
const CALLING_ERRORS: u32 = 0xff00_0000;
const ANONYMOUS: u32 = 64;

/// For `gss_display_status`.
const MECHANISM_CODE: c_int = 2;

type Handle = *mut c_void;

/// `gss_buffer_desc`
#[repr(C)]
struct Buffer {
    length: usize,
    value: *mut c_void,
}

/// `gss_OID_desc`
#[repr(C)]
struct Oid {
    length: u32,
    elements: *mut c_void,
}

/// `gss_OID_set_desc`
#[repr(C)]
struct OidSet {
    count: usize,
    elements: *mut Oid,
}

/// `gss_key_value_element_desc`
#[repr(C)]
struct Setting {
    key: *const c_char,
    value: *const c_char,
}

/// `gss_key_value_set_desc`
#[repr(C)]
struct Settings {
    count: u32,
    elements: *mut Setting,
}

type ImportName = unsafe extern "C" fn(*mut u32, *const Buffer, *const Oid, *mut Handle) -> u32;
type AcquireCredFrom = unsafe extern "C" fn(
    *mut u32,
    Handle,
    u32,
    *const OidSet,
    c_int,
    *const Settings,
    *mut Handle,
    *mut *mut OidSet,
    *mut u32,
) -> u32;
type AcceptSecContext = unsafe extern "C" fn(
    *mut u32,
    *mut Handle,
    Handle,
    *const Buffer,
    *const c_void,
    *mut Handle,
    *mut *const Oid,
    *mut Buffer,
    *mut u32,
    *mut u32,
    *mut Handle,
) -> u32;
type InitSecContext = unsafe extern "C" fn(
    *mut u32,
    Handle,
    *mut Handle,
    Handle,
    *const Oid,
    u32,
    u32,
    *const c_void,
    *const Buffer,
    *mut *const Oid,
    *mut Buffer,
    *mut u32,
    *mut u32,
) -> u32;
type DisplayName = unsafe extern "C" fn(*mut u32, Handle, *mut Buffer, *mut *const Oid) -> u32;
type DisplayStatus = unsafe extern "C" fn(*mut u32, u32, c_int, *const Oid, *mut u32, *mut Buffer) -> u32;
type Release = unsafe extern "C" fn(*mut u32, *mut Handle) -> u32;
type ReleaseBuffer = unsafe extern "C" fn(*mut u32, *mut Buffer) -> u32;
type DeleteSecContext = unsafe extern "C" fn(*mut u32, *mut Handle, *mut Buffer) -> u32;

/// The functions that are used, for as long as the process lives.
struct Gss {
    import_name: ImportName,
    acquire_cred_from: AcquireCredFrom,
    accept_sec_context: AcceptSecContext,
    init_sec_context: InitSecContext,
    display_name: DisplayName,
    display_status: DisplayStatus,
    release_name: Release,
    release_cred: Release,
    release_buffer: ReleaseBuffer,
    delete_sec_context: DeleteSecContext,
    _library: Library,
}

fn gss() -> Result<&'static Gss, KerberosError> {
    static LOADED: OnceLock<Option<Gss>> = OnceLock::new();
    LOADED.get_or_init(|| load().ok()).as_ref().ok_or(KerberosError::NoLibrary)
}

fn load() -> Result<Gss, libloading::Error> {
    // SAFETY: the library's initialisers are those of MIT Kerberos, which may run at any time and on any thread. Each symbol has the
    // signature that gssapi.h and gssapi_ext.h of the same major version declare, and the library stays loaded beside the pointers.
    unsafe {
        let library = Library::new(LIBRARY)?;
        Ok(Gss {
            import_name: *library.get(b"gss_import_name\0")?,
            acquire_cred_from: *library.get(b"gss_acquire_cred_from\0")?,
            accept_sec_context: *library.get(b"gss_accept_sec_context\0")?,
            init_sec_context: *library.get(b"gss_init_sec_context\0")?,
            display_name: *library.get(b"gss_display_name\0")?,
            display_status: *library.get(b"gss_display_status\0")?,
            release_name: *library.get(b"gss_release_name\0")?,
            release_cred: *library.get(b"gss_release_cred\0")?,
            release_buffer: *library.get(b"gss_release_buffer\0")?,
            delete_sec_context: *library.get(b"gss_delete_sec_context\0")?,
            _library: library,
        })
    }
}

impl Oid {
    /// The library reads through it and does not write.
    fn of(bytes: &'static [u8]) -> Self {
        Self { length: bytes.len() as u32, elements: bytes.as_ptr().cast_mut().cast() }
    }
}

impl Buffer {
    const NONE: Self = Self { length: 0, value: ptr::null_mut() };

    /// For as long as the bytes live; the library reads through it and does not write.
    fn over(bytes: &[u8]) -> Self {
        Self { length: bytes.len(), value: bytes.as_ptr().cast_mut().cast() }
    }
}

/// Memory of the library, given back to it when this is dropped.
struct Owned(Buffer, &'static Gss);

impl Owned {
    fn new(gss: &'static Gss) -> Self {
        Self(Buffer::NONE, gss)
    }

    fn bytes(&self) -> &[u8] {
        if self.0.value.is_null() {
            return &[];
        }
        // SAFETY: the library filled the buffer with `length` bytes at `value`, which stay until it is released in `drop`.
        unsafe { std::slice::from_raw_parts(self.0.value.cast::<u8>(), self.0.length) }
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        let mut minor = 0;
        // SAFETY: the buffer is empty or was filled by the library and not released since.
        unsafe { (self.1.release_buffer)(&raw mut minor, &raw mut self.0) };
    }
}

/// A name of the library.
struct Name(Handle, &'static Gss);

impl Drop for Name {
    fn drop(&mut self) {
        let mut minor = 0;
        // SAFETY: the handle is null or was made by the library and not released since.
        unsafe { (self.1.release_name)(&raw mut minor, &raw mut self.0) };
    }
}

/// A context that begins as none.
struct Context(Handle, &'static Gss);

impl Drop for Context {
    fn drop(&mut self) {
        let mut minor = 0;
        // SAFETY: the handle is null or was made by the library and not deleted since; no token is asked for.
        unsafe { (self.1.delete_sec_context)(&raw mut minor, &raw mut self.0, ptr::null_mut()) };
    }
}

/// Keys of a service.
pub(crate) struct Credential(Handle, &'static Gss);

// SAFETY: MIT Kerberos locks a credential in each call that uses it; handles may be used and released on any thread.
unsafe impl Send for Credential {}
// SAFETY: as above; `accept` only reads the handle.
unsafe impl Sync for Credential {}

impl Drop for Credential {
    fn drop(&mut self) {
        let mut minor = 0;
        // SAFETY: the handle was made by the library and not released since.
        unsafe { (self.1.release_cred)(&raw mut minor, &raw mut self.0) };
    }
}

impl Credential {
    /// From this keytab and from no other place.
    pub(crate) fn of_service(keytab: &Path, service: &str) -> Result<Self, KerberosError> {
        let gss = gss()?;
        let name = Name::import(gss, service, HOSTBASED_SERVICE)?;
        Self::acquire(gss, &name, ACCEPT, &[(c"keytab", file(keytab)?)]).ok_or(KerberosError::Keytab)
    }

    /// Of a client: by a keytab, with tickets that stay in this process under the cache's name, or by the tickets that whoever runs this has.
    pub(crate) fn of_client(
        keytab: Option<&Path>,
        principal: Option<&str>,
        cache: &str,
    ) -> Result<Self, KerberosError> {
        let gss = gss()?;
        let name = match principal {
            Some(principal) => Name::import(gss, principal, KRB5_PRINCIPAL)?,
            None => Name(ptr::null_mut(), gss),
        };
        let mut settings = Vec::new();
        if let Some(keytab) = keytab {
            let cache = CString::new(format!("MEMORY:{cache}")).map_err(|_| KerberosError::NoTicket)?;
            settings = vec![(c"client_keytab", file(keytab)?), (c"ccache", cache)];
        }
        Self::acquire(gss, &name, INITIATE, &settings).ok_or(KerberosError::NoTicket)
    }

    fn acquire(gss: &'static Gss, name: &Name, usage: c_int, settings: &[(&CStr, CString)]) -> Option<Self> {
        let mut mechanisms = [Oid::of(KRB5), Oid::of(SPNEGO)];
        let mechanisms = OidSet { count: mechanisms.len(), elements: mechanisms.as_mut_ptr() };
        let mut settings: Vec<Setting> =
            settings.iter().map(|(key, value)| Setting { key: key.as_ptr(), value: value.as_ptr() }).collect();
        let store = Settings { count: settings.len() as u32, elements: settings.as_mut_ptr() };
        let store = if settings.is_empty() { ptr::null() } else { &raw const store };
        let (mut minor, mut handle) = (0, ptr::null_mut());
        // SAFETY: name, mechanisms and settings are valid for the call (a null name is the default one, a null store none), and the library
        // copies what it keeps of them; null asks for neither the mechanisms nor the time that were got.
        let major = unsafe {
            (gss.acquire_cred_from)(
                &raw mut minor,
                name.0,
                INDEFINITE,
                &raw const mechanisms,
                usage,
                store,
                &raw mut handle,
                ptr::null_mut(),
                ptr::null_mut(),
            )
        };
        (major == 0 && !handle.is_null()).then_some(Self(handle, gss))
    }
}

fn file(path: &Path) -> Result<CString, KerberosError> {
    let mut text = b"FILE:".to_vec();
    text.extend(path.as_os_str().as_bytes());
    CString::new(text).map_err(|_| KerberosError::Keytab)
}

impl Name {
    fn import(gss: &'static Gss, text: &str, kind: &'static [u8]) -> Result<Self, KerberosError> {
        let (mut minor, mut name) = (0, Self(ptr::null_mut(), gss));
        let (text, kind) = (Buffer::over(text.as_bytes()), Oid::of(kind));
        // SAFETY: text and kind are valid for the call, and the name is null before it.
        let major = unsafe { (gss.import_name)(&raw mut minor, &raw const text, &raw const kind, &raw mut name.0) };
        if major == 0 { Ok(name) } else { Err(KerberosError::ServiceName) }
    }
}

/// The first token of a client for a service, by SPNEGO. Whom it talks to it knows by other means (TLS): the answer is not asked for.
pub(crate) fn initiate(client: &Credential, service: &str) -> Result<Vec<u8>, KerberosError> {
    let gss = client.1;
    let target = Name::import(gss, service, HOSTBASED_SERVICE)?;
    let mut context = Context(ptr::null_mut(), gss);
    let (mut minor, mut token, mechanism) = (0, Owned::new(gss), Oid::of(SPNEGO));
    // SAFETY: the context is none before the call, credential, name and mechanism live through it, no channel is bound, there is no token of
    // the service yet, and null asks neither for mechanism nor for flags nor for time. What the library makes is owned by the two above,
    // also where it fails.
    let major = unsafe {
        (gss.init_sec_context)(
            &raw mut minor,
            client.0,
            &raw mut context.0,
            target.0,
            &raw const mechanism,
            0,
            0,
            ptr::null(),
            ptr::null(),
            ptr::null_mut(),
            &raw mut token.0,
            ptr::null_mut(),
            ptr::null_mut(),
        )
    };
    if major & (CALLING_ERRORS | ROUTINE_ERRORS) != 0 || token.bytes().is_empty() {
        return Err(KerberosError::NoTicket);
    }
    Ok(token.bytes().to_vec())
}

/// One token in, who it is of out.
pub(crate) fn accept(keys: &Credential, token: &[u8]) -> Result<Accepted, KerberosError> {
    let gss = keys.1;
    let (mut minor, mut flags) = (0, 0);
    let mut context = Context(ptr::null_mut(), gss);
    let mut client = Name(ptr::null_mut(), gss);
    let mut reply = Owned::new(gss);
    let mut mechanism: *const Oid = ptr::null();
    let input = Buffer::over(token);
    // SAFETY: the context is none before the call, the credential and the token live through it, no channel is bound, and null asks
    // neither for the time that is left nor for the client's own credentials. What the library makes is owned by the three above, also
    // where it fails; the mechanism is a constant of the library.
    let major = unsafe {
        (gss.accept_sec_context)(
            &raw mut minor,
            &raw mut context.0,
            keys.0,
            &raw const input,
            ptr::null(),
            &raw mut client.0,
            &raw mut mechanism,
            &raw mut reply.0,
            &raw mut flags,
            ptr::null_mut(),
            ptr::null_mut(),
        )
    };
    if major & (CALLING_ERRORS | ROUTINE_ERRORS) != 0 || major & (DUPLICATE_TOKEN | OLD_TOKEN) != 0 {
        return Err(refusal(gss, major, minor));
    }
    if major & CONTINUE_NEEDED != 0 {
        return Err(KerberosError::Unfinished);
    }
    if flags & ANONYMOUS != 0 {
        return Err(KerberosError::Anonymous);
    }
    // SAFETY: after success the mechanism is null or a constant of the library.
    let is_kerberos = unsafe { mechanism.as_ref() }.is_some_and(|mechanism| {
        // SAFETY: an object identifier has `length` bytes at `elements`.
        let bytes = unsafe { std::slice::from_raw_parts(mechanism.elements.cast::<u8>(), mechanism.length as usize) };
        bytes == KRB5
    });
    if !is_kerberos {
        return Err(KerberosError::OtherMechanism);
    }
    if client.0.is_null() {
        return Err(KerberosError::Refused);
    }
    let mut shown = Owned::new(gss);
    // SAFETY: the name was made by the library; null does not ask for its kind.
    let major = unsafe { (gss.display_name)(&raw mut minor, client.0, &raw mut shown.0, ptr::null_mut()) };
    let principal = std::str::from_utf8(shown.bytes()).map_err(|_| KerberosError::Refused)?;
    if major != 0 || principal.is_empty() {
        return Err(KerberosError::Refused);
    }
    Ok(Accepted { principal: principal.to_owned(), reply: reply.bytes().to_vec() })
}

/// The library numbers Kerberos' own codes anew, so what went wrong is known by words that it writes itself; none of the text passes.
fn refusal(gss: &'static Gss, major: u32, minor: u32) -> KerberosError {
    if major & (DUPLICATE_TOKEN | OLD_TOKEN) != 0 {
        return KerberosError::Replayed;
    }
    let said = said(gss, minor).to_lowercase();
    let any = |words: &[&str]| words.iter().any(|word| said.contains(word));
    if any(&["replay"]) {
        return KerberosError::Replayed;
    }
    if any(&["expired"]) {
        return KerberosError::Expired;
    }
    if any(&["clock skew", "not yet valid"]) {
        return KerberosError::Clock;
    }
    if any(&[
        "cannot decrypt",
        "not found in keytab",
        "wrong principal",
        "integrity check",
        "service key",
        "no key table entry",
        "keytab entry",
    ]) {
        return KerberosError::OtherKey;
    }
    match (major & ROUTINE_ERRORS) >> 16 {
        1 => KerberosError::OtherMechanism,
        6 => KerberosError::OtherKey,
        7 => KerberosError::Keytab,
        9 => KerberosError::NoToken,
        11 | 12 => KerberosError::Expired,
        _ => KerberosError::Refused,
    }
}

/// What the library says of a code of the mechanism.
fn said(gss: &'static Gss, code: u32) -> String {
    let (mut minor, mut more) = (0, 0);
    let mut text = Owned::new(gss);
    // SAFETY: no mechanism is named, so the library finds the one that it numbered the code for; one message is asked for.
    let major = unsafe {
        (gss.display_status)(&raw mut minor, code, MECHANISM_CODE, ptr::null(), &raw mut more, &raw mut text.0)
    };
    if major == 0 { String::from_utf8_lossy(text.bytes()).into_owned() } else { String::new() }
}
