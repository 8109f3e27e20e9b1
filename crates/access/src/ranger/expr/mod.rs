//! The part of JavaScript that conditions and macros of policies are written in, read once and run within bounds.
//!
//! There are no loops, no regular expressions, no clock and nothing outside to reach; a program ends after a bounded
//! number of steps. What it cannot do is [`Fault::Unsupported`], told apart from an error that JavaScript itself would
//! throw: the first is decided so that nothing is granted by mistake, the second as Ranger decides it.

mod parse;
mod run;
mod tokens;
mod value;

pub(crate) use parse::Program;
pub(crate) use run::{Host, run};
pub(crate) use value::{FUNCTIONS, Fault, Value};

const MAX_SOURCE: usize = 16 * 1024;
const MAX_NODES: usize = 1000;
const MAX_NEST: usize = 48;
const MAX_DEPTH: usize = 100;
const MAX_STEPS: usize = 20_000;
const MAX_TEXT: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    struct Nothing;

    impl Host for Nothing {
        fn global(&self, _: &str) -> Option<Result<Value, Fault>> {
            None
        }
        fn member(&self, _: u32, _: &str) -> Result<Value, Fault> {
            Ok(Value::Undefined)
        }
        fn call(&self, _: u32, name: &str, _: &[Value]) -> Result<Value, Fault> {
            value::unsupported(name)
        }
        fn call_function(&self, _: u32, _: &[Value]) -> Result<Value, Fault> {
            Ok(Value::Undefined)
        }
        fn assign(&self, _: u32, _: &str, _: &Value) -> Result<(), Fault> {
            Ok(())
        }
    }

    fn of(source: &str) -> Result<String, Fault> {
        run(&Program::parse(source).map_err(Fault::Unsupported)?, &Nothing)?.show()
    }

    #[test]
    fn values_are_those_of_javascript() {
        for (source, wanted) in [
            ("1 + 2 * 3", "7"),
            ("'a' + 1", "a1"),
            ("1 == '1'", "true"),
            ("1 === '1'", "false"),
            ("null == undefined", "true"),
            ("null == 0", "false"),
            ("[] == ''", "true"),
            ("typeof nobody", "undefined"),
            ("'b' > 'a' && 10 > 9", "true"),
            ("'10' > '9'", "false"),
            ("[1, 2, 3].indexOf(2)", "1"),
            ("['a', 'b'].intersects(['b'])", "true"),
            ("['a', 'b'].some(x => x == 'b')", "true"),
            ("['a', 'b'].map(function (x) { return x + x; }).join('-')", "aa-bb"),
            ("'a,b'.split(',').length", "2"),
            ("var a = 1; if (a) { a = 2; 'yes'; } else { 'no'; }", "yes"),
            ("({a: {b: 3}}).a['b']", "3"),
            ("undefined ?? null ?? 4", "4"),
            ("Object.keys({b: 1, a: 2}).length", "2"),
            ("'Hello'.toLowerCase().substring(1, 3)", "el"),
            ("0.1 + 0.2", "0.30000000000000004"),
            ("true ? 'x' : y", "x"),
            ("JSON.parse('{\"a\": [1]}').a[0]", "1"),
        ] {
            assert_eq!(of(source).as_deref(), Ok(wanted), "{source}");
        }
    }

    #[test]
    fn errors_are_told_from_what_is_not_interpreted() {
        for source in ["null.a", "nobody", "nobody.x", "undefined()", "({}).a.b"] {
            assert!(matches!(of(source), Err(Fault::Thrown(_))), "{source}");
        }
        for source in [
            "for (;;) {}",
            "/a/.test('a')",
            "new Date()",
            "'a'.match('a')",
            "(",
            "a b",
            "`x`",
            "eval('1')",
            "x => x => 1, 2",
        ] {
            assert!(matches!(of(source), Err(Fault::Unsupported(_))), "{source}");
        }
    }

    #[test]
    fn everything_is_bounded() {
        let nest = "(".repeat(5000) + "1" + &")".repeat(5000);
        let nots = "!".repeat(5000) + "1";
        let sum = vec!["1"; 4000].join("+");
        let deep = vec!["1"; 400].join("+");
        let double = format!("var a = 'aaaaaaaaaaaaaaaa'; {} a.length", "a = a + a; ".repeat(60));
        let calls = "var f = x => x(x); f(f)";
        let long = format!("'{}'", "x".repeat(MAX_SOURCE));
        let list = "[".repeat(3000);
        let maps =
            "var a = [1,2,3,4,5,6,7,8,9]; a.map(x => a.map(x => a.map(x => a.map(x => a.map(x => a.map(x => x))))))";
        for source in [&nest, &nots, &sum, &deep, &double, calls, &long, &list, maps] {
            assert!(matches!(of(source), Err(Fault::Unsupported(_))), "{}", source.get(..40).unwrap_or(source));
        }
    }
}
