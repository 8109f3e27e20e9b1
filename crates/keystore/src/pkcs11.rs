//! A key in a hardware security module, through its PKCS#11 library (OASIS PKCS#11 3.1): AES-GCM inside the token.
//!
//! The library runs in this process and sees its memory; calls into it have the library's own time-outs. A wrong PIN is never
//! tried again: tokens lock after a few.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::aead::GcmParams;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::types::AuthPin;
use data_encoding::{BASE64, HEXLOWER_PERMISSIVE};
use zeroize::Zeroizing;

use crate::config::Pkcs11Config;
use crate::error::{At, Trouble};
use crate::secret::{self, Text};
use crate::{KeyStore, KeyStoreError, Place, StoreStatus};

const FORM: &str = "pkcs11:v1:";
const IV: usize = 12;

/// A library may be initialised once in a process, and what is finalised by one user is gone for all: each is loaded
/// once and kept.
static MODULES: Mutex<BTreeMap<PathBuf, Pkcs11>> = Mutex::new(BTreeMap::new());

pub(crate) struct Pkcs11Store {
    place: Arc<Place>,
    config: Pkcs11Config,
    module: PathBuf,
    base: PathBuf,
    id: Option<Vec<u8>>,
}

impl Pkcs11Store {
    pub(crate) fn open(config: &Pkcs11Config, base: &Path) -> Result<Self, KeyStoreError> {
        let at = format!("token `{}` of {}", config.token, config.module);
        let place = Arc::new(Place { kind: "pkcs11", key: config.key.clone(), at });
        let id = match &config.id {
            None => None,
            Some(digits) => Some(
                HEXLOWER_PERMISSIVE
                    .decode(digits.as_bytes())
                    .map_err(|_| Trouble::Configuration { what: "`id` is not in hexadecimal digits".to_owned() })
                    .at(&place)?,
            ),
        };
        Ok(Self { place, config: config.clone(), module: base.join(&config.module), base: base.to_owned(), id })
    }

    fn pin(&self) -> Result<Text, Trouble> {
        match (&self.config.pin_env, &self.config.pin_file) {
            (Some(name), None) => secret::from_variable(name),
            (None, Some(path)) => secret::from_file(&self.base.join(path)),
            _ => Err(Trouble::Configuration { what: "`pkcs11` needs either `pin-env` or `pin-file`".to_owned() }),
        }
    }

    /// Logged in, with the key at hand.
    fn with_key<T>(&self, act: impl FnOnce(&Session, ObjectHandle) -> Result<T, Trouble>) -> Result<T, Trouble> {
        let pin = self.pin()?;
        let module = module(&self.module)?;
        let slots = module.get_slots_with_initialized_token().map_err(told)?;
        // Tokens pad their labels with blanks.
        let labelled =
            |slot: &_| module.get_token_info(*slot).is_ok_and(|info| info.label().trim_end() == self.config.token);
        let mut slots = slots.into_iter().filter(labelled);
        let slot = slots
            .next()
            .ok_or_else(|| Trouble::Configuration { what: "the module has no token of that label".to_owned() })?;
        if slots.next().is_some() {
            return Err(Trouble::Configuration { what: "the module has several tokens of that label".to_owned() });
        }
        let session = module.open_ro_session(slot).map_err(told)?;
        match session.login(UserType::User, Some(&AuthPin::new(pin.as_str().into()))) {
            Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => {}
            Err(error) => return Err(told(error)),
        }
        let mut wanted = vec![
            Attribute::Class(ObjectClass::SECRET_KEY),
            Attribute::Token(true),
            Attribute::Label(self.config.key.as_bytes().to_vec()),
        ];
        wanted.extend(self.id.clone().map(Attribute::Id));
        let found = session.find_objects(&wanted).map_err(told)?;
        match found.as_slice() {
            [key] => act(&session, *key),
            [] => Err(Trouble::KeyMissing),
            _ => Err(Trouble::Configuration { what: "several keys have that label: say the `id` too".to_owned() }),
        }
    }
}

/// What is authenticated beside the key.
fn context(ring: &str) -> Vec<u8> {
    format!("cordon/root/v1/{ring}").into_bytes()
}

impl KeyStore for Pkcs11Store {
    fn place(&self) -> &Place {
        &self.place
    }

    fn wrap(&self, key: &[u8; 32], ring: &str) -> Result<String, KeyStoreError> {
        let wrap = |session: &Session, handle: ObjectHandle| {
            About::of(session, handle)?.fit_to_wrap()?;
            let mut iv = secret::random::<IV>()?;
            let aad = context(ring);
            let params = GcmParams::new(&mut iv, &aad, 128.into()).map_err(told)?;
            let sealed = session.encrypt(&Mechanism::AesGcm(params), handle, key).map_err(told)?;
            // Read after the call: some modules put an IV of their own there.
            Ok(format!("{FORM}{}", BASE64.encode(&[iv.as_slice(), &sealed].concat())))
        };
        self.with_key(wrap).at(&self.place)
    }

    fn unwrap(&self, wrapped: &str, ring: &str) -> Result<Zeroizing<[u8; 32]>, KeyStoreError> {
        let unwrap = |session: &Session, handle: ObjectHandle| {
            let bytes = wrapped.strip_prefix(FORM).and_then(|text| BASE64.decode(text.as_bytes()).ok());
            let bytes = bytes.ok_or(Trouble::WrongKey)?;
            // Checked here: not every module is careful with lengths.
            if bytes.len() != IV + 32 + 16 {
                return Err(Trouble::WrongKey);
            }
            let (iv, sealed) = bytes.split_at_checked(IV).ok_or(Trouble::WrongKey)?;
            let (mut iv, aad) = (iv.to_vec(), context(ring));
            let params = GcmParams::new(&mut iv, &aad, 128.into()).map_err(told)?;
            let key = session.decrypt(&Mechanism::AesGcm(params), handle, sealed).map_err(|error| match error {
                // What modules answer to a wrong tag; SoftHSM has one word for all its faults.
                Error::Pkcs11(
                    RvError::EncryptedDataInvalid
                    | RvError::EncryptedDataLenRange
                    | RvError::DataInvalid
                    | RvError::SignatureInvalid
                    | RvError::GeneralError
                    | RvError::FunctionFailed,
                    _,
                ) => Trouble::WrongKey,
                error => told(error),
            })?;
            secret::key_of_bytes(&Zeroizing::new(key))
        };
        self.with_key(unwrap).at(&self.place)
    }

    fn status(&self, _wrapped: &str) -> Result<StoreStatus, KeyStoreError> {
        let about = self.with_key(About::of).at(&self.place)?;
        let exportable = if about.leaves() { ", exportable" } else { "" };
        Ok(StoreStatus { version: None, newest: None, about: format!("AES-{}-GCM{exportable}", about.bytes * 8) })
    }
}

/// What the token tells of a key.
#[derive(Default)]
struct About {
    aes: bool,
    bytes: u64,
    extractable: bool,
    sensitive: bool,
    both_ways: [bool; 2],
}

impl About {
    fn of(session: &Session, key: ObjectHandle) -> Result<Self, Trouble> {
        let asked = [
            AttributeType::KeyType,
            AttributeType::ValueLen,
            AttributeType::Extractable,
            AttributeType::Sensitive,
            AttributeType::Encrypt,
            AttributeType::Decrypt,
        ];
        // What a token does not tell counts against the key.
        let mut about = Self { extractable: true, ..Self::default() };
        for attribute in session.get_attributes(key, &asked).map_err(told)? {
            match attribute {
                Attribute::KeyType(kind) => about.aes = kind == KeyType::AES,
                Attribute::ValueLen(bytes) => about.bytes = bytes.into(),
                Attribute::Extractable(yes) => about.extractable = yes,
                Attribute::Sensitive(yes) => about.sensitive = yes,
                Attribute::Encrypt(yes) => about.both_ways[0] = yes,
                Attribute::Decrypt(yes) => about.both_ways[1] = yes,
                _ => {}
            }
        }
        Ok(about)
    }

    fn leaves(&self) -> bool {
        self.extractable || !self.sensitive
    }

    fn fit_to_wrap(&self) -> Result<(), Trouble> {
        if !self.aes || self.bytes != 32 {
            return Err(Trouble::KeyUnusable { how: "it must be an AES key of 256 bits".to_owned() });
        }
        if self.both_ways != [true, true] {
            return Err(Trouble::KeyUnusable { how: "it must be allowed to encrypt and to decrypt".to_owned() });
        }
        if self.leaves() {
            return Err(Trouble::Exportable);
        }
        Ok(())
    }
}

fn module(path: &Path) -> Result<Pkcs11, Trouble> {
    let mut modules = MODULES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(module) = modules.get(path) {
        return Ok(module.clone());
    }
    let module = Pkcs11::new(path).map_err(|_| Trouble::Configuration {
        what: "the module is no PKCS#11 library that can be loaded".to_owned(),
    })?;
    match module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
        Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
        Err(error) => return Err(told(error)),
    }
    modules.insert(path.to_owned(), module.clone());
    Ok(module)
}

#[expect(clippy::needless_pass_by_value, reason = "a map for errors")]
fn told(error: Error) -> Trouble {
    let Error::Pkcs11(code, _) = error else {
        return Trouble::Answer { what: "the module does not do what the standard says" };
    };
    match code {
        RvError::PinIncorrect | RvError::PinInvalid | RvError::PinLenRange => {
            Trouble::CredentialsRefused { what: "the PIN is wrong" }
        }
        RvError::PinLocked | RvError::PinExpired => Trouble::PinLocked,
        RvError::UserNotLoggedIn | RvError::UserPinNotInitialized => {
            Trouble::CredentialsRefused { what: "the token has no user PIN, or wants another log-in" }
        }
        RvError::TokenNotPresent | RvError::DeviceRemoved | RvError::TokenNotRecognized => {
            Trouble::Down { how: "the token is not there" }
        }
        RvError::DeviceError
        | RvError::DeviceMemory
        | RvError::HostMemory
        | RvError::GeneralError
        | RvError::FunctionFailed
        | RvError::SessionCount => Trouble::Down { how: "the token has a fault of its own" },
        RvError::KeyFunctionNotPermitted | RvError::ActionProhibited => Trouble::Forbidden { what: "use this key" },
        RvError::MechanismInvalid | RvError::FunctionNotSupported | RvError::MechanismParamInvalid => {
            Trouble::KeyUnusable { how: "the token does not do AES-GCM as PKCS#11 has it".to_owned() }
        }
        RvError::KeyHandleInvalid | RvError::ObjectHandleInvalid => Trouble::KeyMissing,
        code => Trouble::Refused { what: format!("{code:?}") },
    }
}
