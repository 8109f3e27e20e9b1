//! Names, places and organisations in clinical text: MB a second on one core.

use cordon_detect::tagger::Tagger;
use divan::counter::BytesCount;
use divan::{Bencher, black_box};

const NOTE: &str = "\
DISCHARGE SUMMARY
Patient: HERNANDEZ, MARIA    MRN: 00455821    DOB: 03/04/1957
Attending: Dr. Okonkwo

HISTORY: Mrs. Hernandez is a 67-year-old woman with Parkinson disease and type 2 diabetes who was admitted from
Lakewood General Hospital in Toledo with fever. Her daughter Guadalupe is at the bedside. Denies chest pain.
EXAMINATION: Alert, Glasgow Coma Scale 15. Heart regular, no murmurs. Foley catheter draining clear urine.
LABS: Na 140, K 4.1, Cl 101, HCO3 24, BUN 14, Cr 0.9, Glucose 101. Cultures grew E. coli, sensitive to Bactrim.
PLAN: Continue Lisinopril 20 mg daily and Metformin 1000 mg BID. Follow up with Dr. Nguyen in two weeks.

Signed: Samir K. Rao, MD
";

#[divan::bench(args = [1, 16, 1024])]
fn notes(bencher: Bencher<'_, '_>, count: usize) {
    let text = NOTE.repeat(count);
    let mut spans = Vec::new();
    Tagger::shipped().tag("", &mut spans);
    bencher.counter(BytesCount::of_str(&text)).bench_local(|| {
        spans.clear();
        Tagger::shipped().tag(black_box(&text), &mut spans);
        spans.len()
    });
}

fn main() {
    divan::main();
}
