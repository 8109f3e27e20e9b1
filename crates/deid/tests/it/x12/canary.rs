//! A canary is written into every place of sets, one after the other, and must come out of none.

use std::collections::BTreeSet;
use std::sync::Arc;

use cordon_deid::x12::X12Recipe;
use cordon_formats::x12::{Envelope, Kind, RecordKind, facts, parse};

use super::exports::files;
use super::{LIMITED, SHIPPED, batches, everything, recipe, run};

/// Sets that have something of everything, each with the guide that its group names.
const SENT: [(&str, &str, &str); 9] = [
    (
        "HC",
        "005010X222A1",
        "ST*837*0001*005010X222A1~BHT*0019*00*R1*20240102*1200*CH~NM1*41*1*A*B*C***46*S1~PER*IC*D*TE*1*FX*2*EM*3~NM1*40*2*E*****46*S2~\
         HL*1**20*1~PRV*BI*PXC*207Q00000X~CUR*85*USD~NM1*85*1*F*G*H*DR*JR*XX*1~N3*I*J~N4*K*MD*21236*US**X~REF*EI*2~REF*0B*3~PER*IC*L*TE*4*EX*5~\
         HL*2*1*22*1~SBR*P**GRP*PLAN*12****CI~PAT*****D8*20240101*01*146~NM1*IL*1*M*N*O**JR*MI*6~N3*P~N4*Q*MD*21234~DMG*D8*19570301*F~REF*SY*7~NM1*PR*2*R*****PI*8~REF*2U*9~\
         HL*3*2*23*0~PAT*19~NM1*QC*1*S*T~N3*U~N4*V*CA*90210~DMG*D8*20100101*M~CLM*W*100***11:B:1*Y*A*Y*Y*P*AA:EM:::MD~DTP*431*D8*20240105~DTP*439*D6*240105~\
         PWK*OZ*BM***AC*CTL**X~CN1*02*500*2*N1*3*V1~AMT*F5*10~REF*EA*X1~REF*G1*X2~REF*D9*X3~REF*P4*X4~K3*TEXT~NTE*ADD*TEXT~CR1*LB*140*I*A*DH*12*X*Y*Z*TEXT~\
         CRC*07*Y*01~HI*ABK:E119*ABF:I10:D8:20240101~HCP*03*100*10*RPO*5*REF1~NM1*82*1*Y*Z****XX*10~PRV*PE*PXC*207Q00000X~REF*G2*11~\
         SBR*S*18*G2*NAME*****CI~CAS*CO*45*5*1~AMT*D*20~OI***Y***Y~MOA*.5*1*MA01*N130~NM1*IL*1*AA*BB****MI*12~N3*CC~N4*DD*TX*75001~REF*SY*13~NM1*PR*2*EE*****PI*14~DTP*573*D8*20240201~\
         LX*1~SV1*HC:99213:25::::TEXT*100*UN*1*11**1:2~SV5*HC:E0100*DA*30*1*2*1~PWK*CT*AB~MEA*TR*R1*11.5~DTP*472*RD8*20240105-20240106~REF*6R*X5~QTY*PT*2~LIN**N4*00071015523~\
         CTP****1*UN~REF*XZ*X6~NM1*DK*1*FF*GG****XX*15~SVD*16*80*HC:99213**1~CAS*PR*1*20~FRM*1*Y*REFNO*20240101*5~LQ*UT*01.02~SE*99*0001~",
    ),
    (
        "HC",
        "005010X223A2",
        "ST*837*1*005010X223A2~BHT*0019*00*R1*20240102*1200*CH~HL*1**20*1~NM1*85*2*A*****XX*1~HL*2*1*22*0~SBR*P*18*G1******MA~NM1*IL*1*B*C*D***MI*2~\
         DMG*D8*19301231*F~CLM*E*1000***11:A:1**A*Y*Y~DTP*435*DT*202401051310~DTP*096*TM*1200~DTP*434*RD8*20240105-20240109~CL1*1*7*30~HI*ABK:S72001A:::::::Y~HI*DR:470~\
         HI*BBR:0BH17EZ:D8:20240106~HI*BH:11:D8:20240105~HI*BI:70:RD8:20240101-20240103~HI*BE:01:::150~HI*BG:09~HI*LOI:12345-6~QTY*CA*4~MIA*1*2*3*4*MA01~NM1*71*1*F*G****XX*3~\
         LX*1~SV2*0120*HC:J3490:::::TEXT*500*DA*4*125~DTP*472*D8*20240105~SE*9*1~",
    ),
    (
        "HC",
        "005010X224A2",
        "ST*837*1*005010X224A2~HL*1**20*1~NM1*85*1*A*B****XX*1~HL*2*1*22*0~NM1*IL*1*C*D****MI*2~CLM*E*100***11:B:1*Y*A*Y*Y~DN1*12*6*Y*TEXT~DN2*8*M*1*D8*20240101~LX*1~\
         SV3*AD:D2150*80**10:20*I*1*TEXT~TOO*JP*12*M:O~DTP*472*D8*20240105~SE*9*1~",
    ),
    (
        "HP",
        "005010X221A1",
        "ST*835*1~BPR*I*945*C*ACH*CCP*01*888999777*DA*24681012*1935665544*SUP*01*111333555*DA*144444*20240316~TRN*1*TRACE*1935665544*SUB~CUR*PR*USD~REF*EV*RECV~DTM*405*20240314~\
         N1*PR*PAYER*XV*1~N3*A~N4*B*SD*55111~REF*2U*2~PER*BL*C*TE*3*UR*www.x.org~N1*PE*CLINIC*XX*4~N2*MORE~REF*TJ*5~RDM*BM*D*6~LX*1~TS3*7*11*20241231*1*100~TS2*1*2~\
         CLP*E*1*800*450*300*12*94060*11*1**470*1.5~CAS*CO*A2*50~NM1*QC*1*F*G*H***MI*8~NM1*IL*1*I*J****MI*9~NM1*74*1*K*L****C*10~NM1*82*1*M*N****XX*11~MIA*0****MA01~MOA***MA01*N1~\
         REF*EA*12~DTM*232*20240301~DTM*050*20240302~PER*CX*O*TE*13~AMT*AU*1~QTY*CA*2~SVC*HC:99211:25:::::TEXT*800*500*0450*1*HC:99212~DTM*150*20240301~REF*6R*14~AMT*B6*1~LQ*HE*N130~\
         PLB*15*20241231*WO:16*5*L6:17*6~SE*9*1~",
    ),
    (
        "BE",
        "005010X220A1",
        "ST*834*1*005010X220A1~BGN*00*R1*20240101*1200*ET*R2**2~REF*38*P1~DTP*007*D8*20240101~QTY*TO*1~N1*P5*EMPLOYER*FI*1~N1*IN*INSURER*FI*2~ACT*ACC*NAME~\
         INS*Y*18*021*20*A*C*1*FT*F*Y*D8*20240102*R*TOWN*MD*US*3~REF*0F*3~REF*1L*4~REF*SY*5~REF*23*6~DTP*356*D8*20240101~NM1*74*1*A*B*C***34*7~PER*IP**HP*8*EM*9~N3*D~N4*E*MD*21234*US*CY*COUNTY~\
         DMG*D8*19570301*F*M*:RET:1*1*US~EC*01*02~ICM*1*100*40*LOC*GRADE~AMT*P3*1~HLH*N*70*150*140*TEXT*1*TEXT~LUI*LE*eng*TEXT*7~NM1*70*1*F*G~NM1*31*1~N3*H~NM1*36*2*EMPLOYER~NM1*S3*1*I*J~PER*PQ*K*TE*10~\
         DSB*1***5***DX*A00~DTP*360*D8*20240101~HD*021**HLT*PLAN*IND~DTP*348*D8*20240101~AMT*P3*1~REF*1L*11~IDC*CARD*P*1~LX*1~NM1*P3*1*L*M****XX*12~PLA*2*1P*20240101**AI~COB*P*POL*1~REF*60*13~N1*IN*OTHER~SE*9*1~",
    ),
    (
        "HS",
        "005010X279A1",
        "ST*270*1*005010X279A1~BHT*0022*13*R1*20240101*1319~HL*1**20*1~NM1*PR*2*A*****PI*1~HL*2*1*21*1~NM1*1P*1*B*C****XX*2~REF*4A*3*TEXT~N3*D~N4*E*MD*21234~PRV*RF*PXC*207Q00000X~\
         HL*3*2*22*0~TRN*1*T1*9000000000*T2~NM1*IL*1*F*G*H***MI*4~REF*SY*5~N3*I~N4*J*MD*21234~DMG*D8*19430519*F~INS*Y*18***************1~HI*BK:8901~DTP*291*D8*20240101~\
         EQ*30*HC:99213*IND~III*ZZ*11~AMT*R*1~REF*9F*6~SE*9*1~",
    ),
    (
        "HB",
        "005010X279A1",
        "ST*271*1*005010X279A1~BHT*0022*11*R1*20240101*1319~HL*1**20*1~AAA*Y**42*Y~NM1*PR*2*A*****PI*1~PER*IC*B*TE*2*UR*www.x.org~HL*2*1*21*1~NM1*1P*2*C*****XX*3~\
         HL*3*2*22*1~TRN*2*T1*9000000000~NM1*IL*1*D*E****MI*4~REF*6P*5*GROUP~N3*F~N4*G*MD*21234~DMG*D8*19430519*F~INS*Y*18*001*25~MPI*A*EM*B*TEXT*A1*D8*20240101~DTP*346*D8*20240101~\
         EB*1*FAM*30*HM*GOLD PLAN*23*100*.2*VS*5*Y*N*HC:99213*1~HSD*VS*10*DA**21*1~REF*18*6~MSG*TEXT~III*ZZ*21**TEXT~LS*2120~NM1*P3*1*H*I****XX*7~N3*J~PER*IC*K*WP*8~PRV*PC*PXC*207Q00000X~LE*2120~\
         HL*4*3*23*0~TRN*2*T2*9000000000~NM1*03*1*L*M~DMG*D8*20100101~EB*1**30~SE*9*1~",
    ),
    (
        "HR",
        "005010X212",
        "ST*276*1*005010X212~BHT*0010*13*R1*20240101*1200~HL*1**20*1~NM1*PR*2*A*****PI*1~HL*2*1*21*1~NM1*41*2*B*****46*2~HL*3*2*19*1~NM1*1P*1*C*D****XX*3~HL*4*3*22*0~\
         DMG*D8*19570301*F~NM1*IL*1*E*F****MI*4~TRN*1*T1~REF*1K*5~REF*EJ*6~REF*BLT*131~AMT*T3*100~DTP*472*RD8*20240101-20240102~SVC*HC:99213*100****1~REF*FJ*7~DTP*472*D8*20240101~SE*9*1~",
    ),
    (
        "HN",
        "005010X212",
        "ST*277*1*005010X212~BHT*0010*08*R1*20240101*1200*DG~HL*1**20*1~NM1*PR*2*A*****PI*1~PER*IC*B*TE*2~HL*2*1*21*1~NM1*41*2*C*****46*3~TRN*2*T0~STC*A1:20*20240101*WQ*100~\
         HL*3*2*19*1~NM1*1P*1*D*E****XX*4~HL*4*3*22*0~NM1*IL*1*F*G****MI*5~TRN*2*T1~STC*F1:65:QC*20240101*15*100*80*20240102*CHK*20240103*CHECK9*A3:21*A7:562*TEXT~REF*1K*6~REF*EA*7~DTP*472*D8*20240101~\
         SVC*HC:99213*100*80***1~STC*F1:65*20240101~REF*FJ*8~SE*9*1~",
    ),
];

fn interchange(group: &str, guide: &str, set: &str) -> String {
    format!(
        "ISA*03*AUTH      *01*SECRET    *ZZ*SENDER         *ZZ*RECEIVER       *240102*1200*^*00501*000000007*1*P*:~\
         GS*{group}*SENDER*RECEIVER*20240102*1200*1*X*{guide}~{set}GE*1*1~IEA*1*000000007~"
    )
}

/// What is written: words, a number of somebody's, a birth date, letters.
const WORDS: &str = "Zaphod Beeblebrox";
const NUMBER: &str = "913572468";
const DAY: &str = "19571113";
/// Short, and of letters that take two bytes.
const LETTERS: &str = "Zéö";

/// Whether a canary may stay at a place by its form: control numbers are numbers, and a limited data set has dates and towns.
fn may_stay(name: &[u8], element: usize, kind: Kind, canary: &str, is_limited: bool) -> bool {
    let is_control = matches!((name, element), (b"ISA", 13) | (b"GS", 6) | (b"ST" | b"SE", 2));
    match canary {
        WORDS => is_limited && kind == Kind::City,
        _ if is_limited => matches!(kind, Kind::City | Kind::PostalCode) || is_control,
        _ => is_control,
    }
}

/// A text that was changed, where, and what was written there.
struct Planted {
    sent: String,
    what: String,
    canary: &'static str,
}

/// What is wrong with what comes of some texts, if anything is.
fn trouble(recipe: &X12Recipe, planted: &[&Planted]) -> Option<String> {
    let sent: String = planted.iter().map(|planted| planted.sent.as_str()).collect();
    let outputs = run(recipe, sent.as_bytes());
    let out = everything(&outputs);
    let canaries: BTreeSet<&str> = planted.iter().map(|planted| planted.canary).collect();
    let leak = out.lines().find(|line| canaries.iter().any(|canary| line.contains(canary))).map(str::to_owned);
    let mut named = outputs.iter().flat_map(|output| output.undeclared.keys());
    let leak = leak.or_else(|| named.find(|place| canaries.iter().any(|canary| place.contains(canary))).cloned());
    let failure = outputs.iter().flat_map(|output| &output.failures).next().map(|failure| format!("{failure:?}"));
    let count = outputs.iter().map(|output| output.documents).sum::<u64>();
    leak.or(failure).or_else(|| (count != planted.len() as u64).then(|| format!("{count} sets")))
}

#[test]
fn a_canary_comes_out_of_no_place_that_it_was_written_into() {
    let policies = [(SHIPPED, false), (LIMITED, true)]
        .map(|(policy, is_limited)| (recipe(policy).unwrap_or_else(|issues| panic!("{issues}")), is_limited));
    let mut places = 0;
    for (group, guide, set) in SENT {
        let text = interchange(group, guide, set);
        let envelope = Arc::new(Envelope::new(text.as_bytes(), &[]).unwrap());
        let whole = parse(text.as_bytes(), &envelope).unwrap();
        for (recipe, is_limited) in &policies {
            // What the limited data set does otherwise it does alike in all sets.
            if *is_limited && !guide.starts_with("005010X22") {
                continue;
            }
            let mut planted = Vec::new();
            for segment in whole.segments() {
                let mut spots = Vec::new();
                facts(&segment, |fact| {
                    // What says how the file is read is no place for a value.
                    if !(segment.name() == b"ISA" && matches!(fact.element, 11 | 12 | 16)) {
                        spots.push((fact.element, fact.kind, fact.leaf.value.span()));
                    }
                });
                // Far behind the last element that X12 has.
                spots.push((99, Kind::Unknown, segment.span().end..segment.span().end));
                for (element, kind, span) in spots {
                    // Under the limited data set days stay where days are.
                    let canaries: &[&'static str] =
                        if *is_limited { &[WORDS, NUMBER] } else { &[WORDS, NUMBER, DAY, LETTERS] };
                    for &canary in canaries {
                        let parts: &[&str] = match (element, segment.name()) {
                            (99, b"ISA") => &[],
                            (99, _) => &["***************************************"],
                            (_, b"ISA") => &[""],
                            _ if canary == WORDS && !is_limited => &["", ":", "^"],
                            _ => &[""],
                        };
                        if may_stay(segment.name(), element, kind, canary, *is_limited) {
                            continue;
                        }
                        for between in parts {
                            let old = if between.is_empty() { "" } else { &text[span.clone()] };
                            planted.push(Planted {
                                sent: format!("{}{old}{between}{canary}{}", &text[..span.start], &text[span.end..]),
                                what: format!(
                                    "{} {element} {between:?} {kind:?}",
                                    String::from_utf8_lossy(segment.bytes())
                                ),
                                canary,
                            });
                        }
                    }
                }
            }
            places += planted.len();
            for some in planted.chunks(100) {
                let some: Vec<&Planted> = some.iter().collect();
                if trouble(recipe, &some).is_some() {
                    for one in some {
                        let found = trouble(recipe, &[one]);
                        assert!(found.is_none(), "{}: {found:?}", one.what);
                    }
                    panic!("what goes wrong in company goes right alone");
                }
            }
        }
    }
    assert!(places > 5_000, "{places}");
}

/// A segment of every name that X12 has, and of names that it has not, with words in all elements, in every loop of real sets.
#[test]
fn a_segment_that_stands_anywhere_smuggles_nothing() {
    let recipe = recipe(SHIPPED).unwrap_or_else(|issues| panic!("{issues}"));
    let names = cordon_formats::x12::Dictionary::get().segments().map(|segment| segment.name);
    let mut names: Vec<&str> = names.chain(["ZZZ", "Z9", "ABC", "zaphod", "", "JANE"]).collect();
    names.retain(|name| !["ISA", "IEA"].contains(name));
    names.sort_unstable();
    let mut sent: Vec<String> = SENT.iter().map(|(group, guide, set)| interchange(group, guide, set)).collect();
    if let Some(path) = files().and_then(|files| files.into_iter().find(|path| path.ends_with("managed-care.835"))) {
        sent.push(String::from_utf8(std::fs::read(path).unwrap()).unwrap());
    }
    for text in &sent {
        for (at, name) in names.iter().enumerate() {
            // Somewhere else for each.
            let ends: Vec<usize> = text.match_indices('~').map(|(end, _)| end + 1).collect();
            let end = ends[2 + (at * 7) % (ends.len() - 3)];
            let values = format!("*{WORDS}:{WORDS}^{WORDS}").repeat(12);
            let smuggled = format!("{}{name}{values}~{}", &text[..end], &text[end..]);
            let outputs = run(&recipe, smuggled.as_bytes());
            let out = everything(&outputs);
            assert!(!out.contains("Beeblebrox"), "{name} at {end}");
            let records: usize = batches(smuggled.as_bytes())
                .iter()
                .map(|batch| batch.records.iter().filter(|record| record.kind == RecordKind::Transaction).count())
                .sum();
            assert_eq!(outputs.iter().map(|output| output.documents).sum::<u64>(), records as u64, "{name}");
        }
    }
}
