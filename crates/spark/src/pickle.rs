//! Just enough of Python's pickle, protocol 4: functions by their names, texts, bytes, integers, tuples and calls.

/// A program for Python's unpickler. What is put in is data: names and texts carry their length, so that none can end early and
/// become an instruction.
pub(crate) struct Pickle(Vec<u8>);

impl Pickle {
    pub(crate) fn new() -> Self {
        Self(vec![0x80, 4])
    }

    /// `module.name`
    pub(crate) fn global(&mut self, module: &str, name: &str) {
        self.text(module);
        self.text(name);
        self.0.push(0x93);
    }

    pub(crate) fn text(&mut self, text: &str) {
        self.sized(0x8d, text.as_bytes());
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.sized(0x8e, bytes);
    }

    pub(crate) fn int(&mut self, int: i64) {
        self.0.extend([0x8a, 8]);
        self.0.extend(int.to_le_bytes());
    }

    /// What is put between this and `call` are the arguments of the function that was put before.
    pub(crate) fn arguments(&mut self) {
        self.0.push(b'(');
    }

    pub(crate) fn call(&mut self) {
        self.0.extend(b"tR");
    }

    /// The two last, as a tuple.
    pub(crate) fn pair(mut self) -> Vec<u8> {
        self.0.extend([0x86, b'.']);
        self.0
    }

    fn sized(&mut self, code: u8, bytes: &[u8]) {
        self.0.push(code);
        self.0.extend((bytes.len() as u64).to_le_bytes());
        self.0.extend(bytes);
    }
}
