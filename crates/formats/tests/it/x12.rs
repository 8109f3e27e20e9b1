//! X12 as it is really sent: all of it is read, placed in its loops, and comes back as it was.

use std::path::PathBuf;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::Int32Type;
use cordon_formats::FormatError;
use cordon_formats::x12::{
    CodeList, DateFormat, DateOf, Delimiters, Dictionary, EditError, Edits, Envelope, Id, Kind, LevelKind, Outline,
    ReadOptions, RecordKind, RejectReason, Role, SubjectKind, Transaction, TransactionBatch, TransactionReader, encode,
    escape, facts, parse, splice, tables,
};
use proptest::prelude::*;

use crate::support::Dribble;

const ISA: &str =
    "ISA*00*          *00*          *ZZ*SENDER         *ZZ*RECEIVER       *240102*1200*^*00501*000000001*0*P*:~";

/// All batches of a file; what is cut is told.
fn batches(bytes: &[u8], chunk: usize, batch_bytes: usize, max_transaction_bytes: usize) -> Vec<TransactionBatch> {
    let mut reader = TransactionReader::new(Dribble(bytes, chunk), ReadOptions { max_transaction_bytes });
    let mut all = Vec::new();
    while let Some(batch) = reader.next_batch(batch_bytes).unwrap() {
        all.push(batch);
    }
    assert!(reader.next_batch(batch_bytes).unwrap().is_none());
    all
}

/// A whole file as one batch.
fn read(bytes: &[u8]) -> TransactionBatch {
    let mut all = batches(bytes, usize::MAX, bytes.len() + 1, 1 << 24);
    assert!(all.len() < 2);
    all.pop().unwrap_or_default()
}

/// Kind, line and text of each record, and each reject.
type Seen = (Vec<(RecordKind, u64, String)>, Vec<(u64, RejectReason, usize, u64)>);

fn seen_in(bytes: &[u8], chunk: usize, batch_bytes: usize, max: usize) -> Seen {
    let (mut records, mut rejects) = (Vec::new(), Vec::new());
    for batch in batches(bytes, chunk, batch_bytes, max) {
        for (index, record) in batch.records.iter().enumerate() {
            records.push((record.kind, record.line, String::from_utf8_lossy(batch.raw(index)).into_owned()));
        }
        rejects.extend(batch.rejects.iter().map(|r| (r.line, r.reason, r.raw.len(), r.cut)));
    }
    (records, rejects)
}

fn kinds(bytes: &[u8]) -> Vec<RecordKind> {
    read(bytes).records.iter().map(|record| record.kind).collect()
}

/// One set in its envelope.
fn interchange(version: &str, code: &str, set: &str) -> String {
    format!("{ISA}GS*{code}*GS-A*GS-B*20240102*1200*7*X*{version}~{set}GE*1*7~IEA*1*000000001~")
}

fn with_set<T>(version: &str, set: &str, check: impl FnOnce(&Transaction<'_>) -> T) -> T {
    let text = interchange(version, "XX", set);
    let batch = read(text.as_bytes());
    let index = batch.records.iter().position(|record| record.kind == RecordKind::Transaction).unwrap();
    check(&batch.parse(index).unwrap())
}

/// Loop and name of each segment; a `?` behind what is not expected.
fn places(version: &str, set: &str) -> Vec<String> {
    with_set(version, set, |set| {
        let outline = Outline::of(set);
        let shown = |segment: cordon_formats::x12::Segment<'_>| {
            let place = outline.places[segment.index()];
            let mark = if place.is_expected { "" } else { "?" };
            format!("{}:{}{mark}", place.loop_id, String::from_utf8_lossy(segment.name()))
        };
        set.segments().map(shown).collect()
    })
}

fn unchanged(set: &Transaction<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    Edits::default().write(set, &mut out).unwrap();
    out
}

/// Replaces every smallest value by its own text, read and written again.
fn replaced_by_itself(set: &Transaction<'_>) -> Vec<u8> {
    let mut edits = Edits::default();
    for segment in set.segments().filter(|segment| segment.name() != b"ISA") {
        for element in segment.elements() {
            for leaf in element.value.leaves() {
                assert_eq!(leaf.value.bytes(), &set.bytes()[leaf.value.span()]);
                edits.replace(&leaf.value, &leaf.value.text()).unwrap();
            }
        }
    }
    let mut out = Vec::new();
    edits.write(set, &mut out).unwrap();
    out
}

fn shared() -> Option<PathBuf> {
    let folder = std::env::var_os("CORDON_SHARED_DATA")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"), PathBuf::from);
    let folder = folder.join("x12");
    if !folder.is_dir() {
        eprintln!("skipped: no third-party data at {}", folder.display());
        return None;
    }
    Some(folder)
}

/// Found by fuzzing: read in pieces, a header that a piece ended in went with the text before it, which was too long.
#[test]
fn an_interchange_behind_a_text_that_is_too_long_is_read_in_any_pieces() {
    let file =
        format!("{}{}", "no header here ".repeat(40), interchange("005010X279A1", "HS", "ST*270*0001~SE*2*0001~"));
    let whole = seen_in(file.as_bytes(), usize::MAX, 1 << 20, 256);
    assert_eq!((whole.0.len(), whole.1.len()), (5, 1));
    for batch_bytes in (64..1000).step_by(7).chain([1]) {
        assert!(seen_in(file.as_bytes(), 50, batch_bytes, 256) == whole, "{batch_bytes}");
    }
}

/// Found by fuzzing: one byte of another encoding elsewhere in the set, and a value in UTF-8 did not come back as it was.
#[test]
fn a_value_in_utf8_stays_so_in_a_set_of_mixed_encodings() {
    let text = interchange("005010X222A1", "HC", "ST*837*0001~NM1*IL*1*O\u{2019}HARA*JANE~NM1*QC*1*M?LLER~SE*4*0001~");
    let bytes: Vec<u8> = text.bytes().map(|byte| if byte == b'?' { 0xFC } else { byte }).collect();
    let batch = read(&bytes);
    let index = batch.records.iter().position(|record| record.kind == RecordKind::Transaction).unwrap();
    let set = batch.parse(index).unwrap();
    assert!(replaced_by_itself(&set) == set.bytes());
}

#[test]
fn real_files_come_back_byte_for_byte() {
    let Some(folder) = shared() else { return };
    let (mut files, mut sets, mut segments, mut unexpected) = (0, 0, 0, 0);
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let name = path.display();
        let bytes = std::fs::read(&path).unwrap();
        let batch = read(&bytes);
        assert!(batch.rejects.is_empty() && !batch.is_empty(), "{name}");
        let mut together = Vec::new();
        let mut parsed = Vec::new();
        for (index, record) in batch.records.iter().enumerate() {
            assert_ne!(record.kind, RecordKind::Other, "{name}");
            let set = batch.parse(index).unwrap();
            assert!(unchanged(&set) == batch.raw(index), "{name}");
            assert!(replaced_by_itself(&set) == batch.raw(index), "{name}");
            assert!(set.segments().all(|segment| !segment.is_text()), "{name}");
            together.extend_from_slice(batch.raw(index));
            if record.kind == RecordKind::Transaction {
                let outline = Outline::of(&set);
                assert!(outline.guide.is_some(), "{name}");
                for (segment, place) in set.segments().zip(&outline.places) {
                    if !place.is_expected {
                        eprintln!("{name}: {}:{}", place.loop_id, String::from_utf8_lossy(segment.name()));
                    }
                    segments += 1;
                    unexpected += usize::from(!place.is_expected);
                }
                sets += 1;
            }
            parsed.push(set);
        }
        assert!(together == bytes, "{name}");
        for (chunk, batch_bytes) in [(1, 64), (977, 4096)] {
            if chunk > 1 || bytes.len() < 10_000 {
                assert!(seen_in(&bytes, chunk, batch_bytes, 1 << 24) == seen_in(&bytes, usize::MAX, 1 << 24, 1 << 24));
            }
        }
        let flat = tables::flatten(&parsed).unwrap();
        let rows = |table: &str| flat.iter().find(|(name, _)| name == table).map_or(0, |(_, rows)| rows.num_rows());
        assert_eq!(rows("segment"), parsed.iter().map(Transaction::len).sum::<usize>(), "{name}");
        let count = |wanted: &[u8]| {
            parsed.iter().flat_map(Transaction::segments).filter(|segment| segment.name() == wanted).count()
        };
        assert_eq!(rows("transaction"), count(b"ST"), "{name}");
        assert_eq!(rows("claim"), count(b"CLM") + count(b"CLP"), "{name}");
        assert_eq!(rows("status"), count(b"STC"), "{name}");
        assert_eq!(rows("eligibility"), count(b"EB") + count(b"EQ"), "{name}");
        files += 1;
    }
    eprintln!("{files} files, {sets} sets, {segments} segments, {unexpected} of them unexpected");
    assert!(files >= 18 && sets >= 19);
    assert!(unexpected * 200 < segments, "{unexpected} of {segments}");
}

#[test]
fn delimiters_are_what_the_header_shows() {
    let of = |text: &str| Delimiters::of_header(text.as_bytes());
    assert_eq!(of(ISA), Some(Delimiters::USUAL));
    let swap = |from: &str, to: &str| ISA.replace(from, to);
    assert_eq!(of(&swap("*", "|")).unwrap().element, b'|');
    assert_eq!(of(&swap("*^*", "*U*")).unwrap().repetition, None);
    // Before 00402 there is no repetition, whatever stands there.
    assert_eq!(of(&swap("00501", "00401")).unwrap().repetition, None);
    // Elements that are not filled with blanks.
    assert_eq!(
        of("ISA*00**00**ZZ*A*ZZ*B*240102*1200*^*00501*1*0*P*>!GS"),
        Some(Delimiters { element: b'*', repetition: Some(b'^'), component: Some(b'>'), segment: b'!' })
    );
    // Terminators that are line ends or control characters.
    let of_end = |end: &str| of(&ISA.replace(":~", end)).map(|d| (d.component, d.segment));
    assert_eq!(of_end(":\nGS*HC\n"), Some((Some(b':'), b'\n')));
    assert_eq!(of_end(":\r\nGS*HC\r\n"), Some((Some(b':'), b'\r')));
    assert_eq!(of_end("\u{1f}\u{1c}"), Some((Some(0x1F), 0x1C)));
    // Nothing in ISA-16.
    assert_eq!(of_end("~GS*HC~"), Some((None, b'~')));
    assert_eq!(of_end("~\nGS*HC*A~\nST"), Some((None, b'~')));
    assert_eq!(of_end("\nGS*HC\n"), Some((None, b'\n')));
    for none in ["", "ISA", "ISA*", "ISAB", "ISA*00*~GS*HC*A*B*2024*1200*7*X*1~ST*837*1*2*3*4~", "GS*HC"] {
        assert_eq!(of(none), None, "{none}");
    }
    // A separator that is several of them parts by the first.
    assert_eq!(of(&swap("*^*", "*:*")).unwrap().repetition, None);
}

#[test]
fn records_are_sets_and_the_segments_around_them() {
    use RecordKind::{GroupHeader, GroupTrailer, InterchangeHeader, InterchangeTrailer, Other, Transaction};
    let text = format!(
        "\u{feff}\r\n{ISA}\r\nTA1*1*240102*1200*A*000~\r\nGS*HC*A*B*20240102*1200*1*X*005010X222A1~\r\nST*837*1~\r\nBHT*1~\r\nSE*3*1~\r\n\
         ST*837*2~BHT*2~SE*9*2~GE*2*1~GS*HP*C*D*20240102*1200*2*X*005010X221A1~ST*835*3~GE*1*2~IEA*2*1~\r\n\r\n\
         {}ST*999*4~AK1*HC~IEA*1*1",
        ISA.replace('*', "|")
    );
    let batch = read(text.as_bytes());
    assert_eq!(
        kinds(text.as_bytes()),
        [
            InterchangeHeader,
            Other,
            GroupHeader,
            Transaction,
            Transaction,
            GroupTrailer,
            GroupHeader,
            Transaction,
            GroupTrailer,
            InterchangeTrailer,
            InterchangeHeader,
            Other,
            Other,
            Other
        ]
    );
    let group = |index: usize| batch.records[index].envelope.group(2).map(std::borrow::Cow::into_owned);
    assert_eq!(
        [group(0), group(2), group(3), group(5), group(7)].map(Option::unwrap_or_default),
        ["", "A", "A", "A", "C"]
    );
    assert_eq!(group(9), None);
    assert_eq!(batch.raw(9), b"IEA*2*1~\r\n");
    assert!(batch.raw(10).starts_with(b"\r\nISA|"));
    assert_eq!(batch.records.iter().map(|record| record.line).take(5).collect::<Vec<_>>(), [2, 3, 4, 5, 8]);
    // By the delimiters of the second interchange the rest is no segment.
    assert!(batch.parse(11).unwrap().segment(0).unwrap().is_text());
    let first = batch.parse(3).unwrap();
    assert_eq!((first.set(), first.control().as_deref(), first.len()), (&b"837"[..], Some("1"), 3));
    assert_eq!(first.version().as_deref(), Some("005010X222A1"));
    assert!(batch.rejects.is_empty());
}

#[test]
fn trailers_may_be_missing() {
    use RecordKind::{GroupHeader, InterchangeHeader, InterchangeTrailer, Transaction};
    let text = format!("{ISA}GS*HC*A~ST*837*1~BHT*1~ST*837*2~BHT*2~IEA*1*1\n{ISA}GS*HC*A~ST*837*3~BHT*3");
    assert_eq!(
        kinds(text.as_bytes()),
        [
            InterchangeHeader,
            GroupHeader,
            Transaction,
            Transaction,
            InterchangeTrailer,
            InterchangeHeader,
            GroupHeader,
            Transaction
        ]
    );
    let batch = read(text.as_bytes());
    assert_eq!(batch.raw(4), b"IEA*1*1\n");
    let last = batch.parse(7).unwrap();
    assert_eq!(last.segment(1).unwrap().element(1).unwrap().bytes(), b"3");
    assert_eq!(unchanged(&last), b"ST*837*3~BHT*3");
}

#[test]
fn what_is_no_interchange_is_set_aside() {
    let (records, rejects) = seen_in(format!("hello\nISAAC was here\n{ISA}").as_bytes(), 3, 64, 1 << 20);
    assert_eq!(records, [(RecordKind::InterchangeHeader, 3, ISA.to_owned())]);
    assert_eq!(rejects, [(1, RejectReason::NoHeader { header: "ISA" }, 21, 0)]);
    assert_eq!(seen_in(b"no x12 at all", 3, 64, 1 << 20).1, [(1, RejectReason::NoHeader { header: "ISA" }, 13, 0)]);
    for blank in [&b""[..], b" \r\n\r\n", b"\xEF\xBB\xBF"] {
        assert!(read(blank).is_empty() && read(blank).rejects.is_empty());
    }
    let mut wide = TransactionReader::new(&b"\xFF\xFEI\0S\0A\0"[..], ReadOptions::default());
    assert!(matches!(wide.next_batch(1000), Err(FormatError::NotUtf8Text)));
    assert!(matches!(wide.next_batch(1000), Err(FormatError::FailedBefore)));
}

#[test]
fn a_set_that_is_too_large_is_set_aside_and_the_rest_read() {
    let long = "REF*EI*123456789~".repeat(5000);
    let endless = "X".repeat(100_000);
    let text = format!("{ISA}GS*HC*A~ST*837*1~{long}SE*1*1~ST*837*2~{endless}~SE*2*2~ST*837*3~SE*2*3~GE*3*1~IEA*1*1~");
    for (chunk, batch_bytes) in [(usize::MAX, 1 << 20), (613, 64), (4096, 8192)] {
        let (records, rejects) = seen_in(text.as_bytes(), chunk, batch_bytes, 1000);
        let texts: Vec<_> = records.iter().map(|(_, _, text)| text.as_str()).collect();
        assert_eq!(texts, [ISA, "GS*HC*A~", "ST*837*3~SE*2*3~", "GE*3*1~", "IEA*1*1~"]);
        let reason = RejectReason::TooLong { record: "transaction set", limit: 1000 };
        let cut = |set: usize| (set - 1000) as u64;
        let sizes = [9 + long.len() + 7, 9 + endless.len() + 1 + 7];
        assert_eq!(rejects, [(1, reason, 1000, cut(sizes[0])), (1, reason, 1000, cut(sizes[1]))]);
    }
}

const CLAIM: &str = "ST*837*0021*005010X222A1~BHT*0019*00*0123*20051015*1023*CH~NM1*41*2*PREMIER*****46*TGJ23~PER*IC*JERRY*TE*3055552222~\
    NM1*40*2*XYZ*****46*66783~HL*1**20*1~NM1*85*1*KILDARE*BEN****XX*1999996666~N3*1234 SEAWAY ST~N4*MIAMI*FL*33111~\
    REF*EI*123456789~HL*2*1*22*1~SBR*P********CI~NM1*IL*1*SMITH*JANE****MI*111223333~DMG*D8*19430501*F~\
    NM1*PR*2*KEY INSURANCE*****PI*999996666~HL*3*2*23*0~PAT*19~NM1*QC*1*SMITH*TED~N3*236 N MAIN ST~DMG*D8*19730501*M~\
    CLM*26407789*79.04***11:B:1*Y*A*Y*I*P~DTP*435*D8*20051001~REF*EA*MRN7~HI*ABK:J0390*ABF:Z1159*ABF:J20~\
    NM1*82*1*KILDARE*BEN****XX*1999996667~PRV*PE*PXC*204C00000X~SBR*S*01*******12~OI***Y*P**Y~NM1*IL*1*SMITH*JACK****MI*T55TY666~\
    N3*236 N MAIN ST~LX*1~SV1*HC:99213:25:GT*43.00*UN*1.00***1:2:3:4~DTP*472*D8*20051003~REF*6R*L1~LX*2~SV1*HC:90782*15.00*UN*1~\
    DTP*472*RD8*20051004-20051006~SVD*12*10~CAS*PR*1*5~HL*4*1*22*0~SBR*P*18~NM1*IL*1*ROE*ANN****MI*M2~CLM*C2*10***12:B:7~\
    DTP*431*D8*20051001~LX*1~SV1*HC:99211*10*UN*1~DTP*472*D8*20060101~SE*40*0021~";

#[test]
fn loops_of_a_professional_claim() {
    let shown = places("005010X222A1", CLAIM);
    let expected = "ST header:BHT 1000A:NM1 1000A:PER 1000B:NM1 2000A:HL 2010AA:NM1 2010AA:N3 2010AA:N4 2010AA:REF 2000B:HL \
        2000B:SBR 2010BA:NM1 2010BA:DMG 2010BB:NM1 2000C:HL 2000C:PAT 2010CA:NM1 2010CA:N3 2010CA:DMG 2300:CLM 2300:DTP \
        2300:REF 2300:HI 2310B:NM1 2310B:PRV 2320:SBR 2320:OI 2330A:NM1 2330A:N3 2400:LX 2400:SV1 2400:DTP 2400:REF 2400:LX \
        2400:SV1 2400:DTP 2430:SVD 2430:CAS 2000B:HL 2000B:SBR 2010BA:NM1 2300:CLM 2300:DTP 2400:LX 2400:SV1 2400:DTP SE";
    let expected = expected.split_whitespace().map(|p| if p.contains(':') { p.to_owned() } else { format!(":{p}") });
    assert_eq!(shown, expected.collect::<Vec<_>>());
}

#[test]
fn everything_belongs_to_somebody() {
    with_set("005010X222A1", CLAIM, |set| {
        let outline = Outline::of(set);
        let kinds: Vec<_> = outline.subjects.iter().map(|subject| (subject.kind, subject.of)).collect();
        assert_eq!(
            kinds,
            [(SubjectKind::Subscriber, None), (SubjectKind::Dependent, Some(0)), (SubjectKind::Subscriber, None)]
        );
        let levels: Vec<_> = outline.levels.iter().map(|level| (level.kind, level.parent)).collect();
        assert_eq!(
            levels,
            [
                (LevelKind::Source, None),
                (LevelKind::Subscriber, Some(0)),
                (LevelKind::Dependent, Some(1)),
                (LevelKind::Subscriber, Some(0))
            ]
        );
        let of = |name: &[u8], code: &[u8]| {
            let segment = set.segments().find(|s| s.name() == name && s.is(1, code)).unwrap();
            (outline.places[segment.index()].subject, Role::of(set, &outline, segment.index()))
        };
        assert_eq!(of(b"NM1", b"41"), (None, Role::Submitter));
        assert_eq!(of(b"PER", b"IC"), (None, Role::Submitter));
        assert_eq!(of(b"NM1", b"85"), (None, Role::Provider));
        assert_eq!(of(b"REF", b"EI"), (None, Role::Provider));
        assert_eq!(of(b"NM1", b"IL"), (Some(0), Role::Subject));
        assert_eq!(of(b"NM1", b"PR"), (Some(0), Role::Payer));
        assert_eq!(of(b"NM1", b"QC"), (Some(1), Role::Subject));
        assert_eq!(of(b"REF", b"EA"), (Some(1), Role::Subject));
        assert_eq!(of(b"NM1", b"82"), (Some(1), Role::Provider));
        assert_eq!(of(b"LX", b"2"), (Some(1), Role::Subject));
        // Who is insured by another payer.
        let other = set.segments().find(|segment| segment.is(9, b"T55TY666")).unwrap().index();
        assert_eq!(Role::of(set, &outline, other), Role::OtherPerson);
        assert_eq!(Role::of(set, &outline, other + 1), Role::OtherPerson);
        assert_eq!(Role::of(set, &outline, set.len() - 1), Role::Unknown);
    });
}

#[test]
fn loops_of_other_sets() {
    let check = |version, set: &str, expected: &str| {
        let shown = places(version, set).join(" ");
        assert_eq!(shown, expected, "{version}");
    };
    check(
        "005010X221A1",
        "ST*835*1~BPR*I*945*C*ACH~TRN*1*7*1~N1*PR*A~N3*B~N1*PE*C*XX*5~REF*TJ*7~LX*1~CLP*A*1*800*450*300*12*9~CAS*CO*A2*50~\
         NM1*QC*1*BUDD*WILLIAM****MI*3~DTM*232*20020301~SVC*HC:99211*800*500~DTM*472*20020301~CAS*PR*1*300~CLP*B*1*1*1~PLB*1*20241231*WO*5~\
         PLB*2*20241231*WO*5~SE*26*1~",
        ":ST header:BPR header:TRN 1000A:N1 1000A:N3 1000B:N1 1000B:REF 2000:LX 2100:CLP 2100:CAS 2100:NM1 2100:DTM 2110:SVC \
         2110:DTM 2110:CAS 2100:CLP footer:PLB footer:PLB :SE",
    );
    check(
        "005010X220A1",
        "ST*834*1~BGN*00*1*20240101~N1*P5*S**FI*1~N1*IN*I**FI*2~INS*Y*18*030*XN*A~REF*0F*SSN~REF*1L*G~DTP*356*D8*20240101~\
         NM1*IL*1*DOE*JOHN****34*1~PER*IP**TE*1~N3*A~N4*B*C*1~DMG*D8*19400816*M~HD*030**HLT~DTP*348*D8*20240101~\
         LX*1~NM1*P3*1*D~INS*N*19*030~NM1*IL*1*DOE*SON~SE*1*1~",
        ":ST header:BGN 1000A:N1 1000B:N1 2000:INS 2000:REF 2000:REF 2000:DTP 2100A:NM1 2100A:PER 2100A:N3 2100A:N4 2100A:DMG \
         2300:HD 2300:DTP 2310:LX 2310:NM1 2000:INS 2100A:NM1 :SE",
    );
    check(
        "005010X279A1",
        "ST*271*1*005010X279A1~BHT*0022*11*1*20240101*1~HL*1**20*1~NM1*PR*2*A~HL*2*1*21*1~NM1*1P*2*B~HL*3*2*22*0~TRN*2*9*9~\
         NM1*IL*1*DOE*JANE****MI*1~REF*6P*G~N3*A~N4*B*C*1~PRV*PE~DMG*D8*19400101*F~INS*Y*18~HI*ABK:J20~DTP*346*D8*20240101~MPI*A*B~\
         EB*1**30~DTP*999*D8*20240101~MSG*HI~LS*2120~NM1*P3*1*X~LE*2120~EB*C~SE*1*1~",
        ":ST header:BHT 2000A:HL 2100A:NM1 2000B:HL 2100B:NM1 2000C:HL 2000C:TRN 2100C:NM1 2100C:REF 2100C:N3 2100C:N4 2100C:PRV \
         2100C:DMG 2100C:INS 2100C:HI 2100C:DTP 2100C:MPI 2110C:EB 2110C:DTP? 2110C:MSG 2110C:LS 2120C:NM1 2110C:LE 2110C:EB :SE",
    );
    check(
        "005010X212",
        "ST*276*1*005010X212~BHT*0010*13*1~HL*1**20*1~NM1*PR*2*A~HL*2*1*21*1~NM1*41*2*B~HL*3*2*19*1~NM1*1P*2*C~HL*4*3*22*0~\
         DMG*D8*19400101*F~NM1*IL*1*D~TRN*1*9~REF*BLT*1~REF*EJ*A~AMT*T3*5~DTP*472*D8*20240101~SVC*HC:1*5~REF*FJ*1~SE*1*1~",
        ":ST header:BHT 2000A:HL 2100A:NM1 2000B:HL 2100B:NM1 2000C:HL 2100C:NM1 2000D:HL 2000D:DMG 2100D:NM1 2200D:TRN \
         2200D:REF 2200D:REF 2200D:AMT 2200D:DTP 2210D:SVC 2210D:REF :SE",
    );
    // Branches of the hierarchy in an order that the guide's table has not.
    check(
        "005010X212",
        "ST*277*1*005010X212~BHT*0010*08*1~HL*1**20*1~NM1*PR*2*A~HL*2*1*21*1~NM1*41*2*B~HL*3*2*19*1~NM1*1P*2*C~HL*4*3*22*0~\
         NM1*IL*1*D~TRN*2*9~STC*F1:65~HL*5*1*21*1~NM1*41*2*E~SE*1*1~",
        ":ST header:BHT 2000A:HL 2100A:NM1 2000B:HL 2100B:NM1 2000C:HL 2100C:NM1 2000D:HL 2100D:NM1 2200D:TRN 2200D:STC \
         2000B:HL 2100B:NM1 :SE",
    );
    check(
        "005010X224A2",
        "ST*837*1*005010X224A2~BHT*0019*00*1~HL*1**20*1~NM1*85*2*A~NM1*PE*2*P~N3*A~HL*2*1*22*0~SBR*P*18~NM1*IL*1*D~CLM*1*5~\
         DTP*472*D8*20240101~HI*ABK:K02~NM1*DQ*1*S~LX*1~SV3*AD:D0120*5~TOO*JP*1~NM1*77*2*L~N3*A~SE*1*1~",
        ":ST header:BHT 2000A:HL 2010AA:NM1 2010AC:NM1 2010AC:N3 2000B:HL 2000B:SBR 2010BA:NM1 2300:CLM 2300:DTP 2300:HI \
         2310E:NM1 2400:LX 2400:SV3 2400:TOO 2420D:NM1 2420D:N3 :SE",
    );
    check(
        "005010X223A2",
        "ST*837*1*005010X223A2~BHT*0019*00*1~HL*1**20*1~NM1*85*2*A~HL*2*1*22*0~SBR*P*18~NM1*IL*1*D~CLM*1*5***11:A:1~\
         DTP*434*RD8*20240101-20240102~CL1*1*1*01~HI*ABK:K02~NM1*71*1*S~LX*1~SV2*0300*HC:81000*5~SE*1*1~",
        ":ST header:BHT 2000A:HL 2010AA:NM1 2000B:HL 2000B:SBR 2010BA:NM1 2300:CLM 2300:DTP 2300:CL1 2300:HI 2310A:NM1 \
         2400:LX 2400:SV2 :SE",
    );
}

#[test]
fn disorder_is_told_and_survived() {
    // HI behind a provider of the claim goes back to the claim; what no guide has stays where it stands.
    let set = "ST*837*1~HL*1**20*1~NM1*85*2*A~ZZZ*1~HL*2*1*22*0~NM1*IL*1*D~REF*XX*7~CLM*1*5~NM1*82*1*B~HI*ABK:J20~REF*EA*1~LX*1~\
               REF*EA*2~SV1*HC:1*5~not a segment~SE*1*1~";
    assert_eq!(
        places("", set).join(" "),
        ":ST 2000A:HL 2010AA:NM1 2010AA:ZZZ? 2000B:HL 2010BA:NM1 2010BA:REF? 2300:CLM 2310B:NM1 2300:HI 2300:REF 2400:LX \
         2400:REF? 2400:SV1 2400:? :SE"
    );
    // Without a guide the hierarchy is known all the same.
    with_set(
        "005010X217",
        "ST*278*1~BHT*0007~HL*1**20*1~HL*2*1*22*1~NM1*IL*1*D~DMG*D8*19400101~HL*3*2*23*0~NM1*QC*1*E~SE*1*1~",
        |set| {
            let outline = Outline::of(set);
            assert!(outline.guide.is_none());
            assert_eq!(outline.places[5].subject, Some(0));
            assert_eq!(outline.places[5].party, Some(4));
            assert_eq!(Role::of(set, &outline, 5), Role::Subject);
            assert_eq!(outline.subjects[1].of, Some(0));
        },
    );
}

/// What the values of a segment are: `element.component kind`.
fn kinds_of(segment: &str) -> Vec<(usize, usize, Kind)> {
    with_set("005010X222A1", &format!("ST*837*1~{segment}~SE*1*1~"), |set| {
        let mut all = Vec::new();
        facts(&set.segment(1).unwrap(), |fact| all.push((fact.element, fact.leaf.component, fact.kind)));
        all
    })
}

#[test]
fn qualifiers_tell_what_a_value_is() {
    let of = |segment: &str, element: usize, component: usize| {
        let all = kinds_of(segment);
        all.into_iter().find(|(e, c, _)| (*e, *c) == (element, component)).unwrap().2
    };
    let person = "NM1*IL*1*DOE*JOHN*Q*DR*JR*MI*0007";
    assert_eq!(
        (3..=9).map(|n| of(person, n, 1)).collect::<Vec<_>>(),
        [
            Kind::FamilyName,
            Kind::GivenName,
            Kind::MiddleName,
            Kind::NamePrefix,
            Kind::NameSuffix,
            Kind::Code,
            Kind::Identifier(Id::Member)
        ]
    );
    assert_eq!(of("NM1*85*2*CLINIC*****XX*1", 3, 1), Kind::OrganizationName);
    assert_eq!(of("NM1*85*2*CLINIC*****XX*1", 9, 1), Kind::Identifier(Id::Npi));
    assert_eq!(of("NM1*IL*1*DOE*****34*1", 9, 1), Kind::Identifier(Id::SocialSecurity));
    assert_eq!(of("N1*PR*PAYER*XV*1", 2, 1), Kind::OrganizationName);
    assert_eq!(of("N1*75*JOHN DOE", 2, 1), Kind::Name);
    assert_eq!(of("REF*SY*123456789", 2, 1), Kind::Identifier(Id::SocialSecurity));
    assert_eq!(of("REF*EA*1", 2, 1), Kind::Identifier(Id::MedicalRecord));
    assert_eq!(of("REF*EA*1*TEXT", 3, 1), Kind::Text);
    assert_eq!(of("REF*G1*1**F8:77", 4, 2), Kind::Identifier(Id::PayerClaim));
    assert_eq!(of("DMG*D8*19400101*F", 2, 1), Kind::Date(DateFormat::Day, DateOf::Birth));
    assert_eq!(of("DMG*D8*19400101*F", 3, 1), Kind::Demographic);
    assert_eq!(of("PAT*19****D8*20200101", 6, 1), Kind::Date(DateFormat::Day, DateOf::Death));
    assert_eq!(of("DTP*472*RD8*20240101-20240102", 3, 1), Kind::Date(DateFormat::DayRange, DateOf::Service));
    assert_eq!(of("DTP*435*DT*202401011200", 3, 1), Kind::Date(DateFormat::Minute, DateOf::Admission));
    assert_eq!(of("DTP*096*TM*1200", 3, 1), Kind::Time);
    assert_eq!(of("DTP*472*X9*20240101", 3, 1), Kind::Date(DateFormat::Unknown, DateOf::Service));
    assert_eq!(of("DTM*232*20240101", 2, 1), Kind::Date(DateFormat::Day, DateOf::Service));
    let contact = "PER*IC*JANE ROE*TE*5551234*FX*5551235*EM*a@b.example";
    assert_eq!([2, 4, 6, 8].map(|n| of(contact, n, 1)), [Kind::Name, Kind::Phone, Kind::Fax, Kind::Email]);
    assert_eq!([1, 2].map(|n| of("N3*1 MAIN ST*APT 2", n, 1)), [Kind::AddressLine, Kind::AddressLine]);
    assert_eq!(
        [1, 2, 3, 4].map(|n| of("N4*MIAMI*FL*33111*US", n, 1)),
        [Kind::City, Kind::State, Kind::PostalCode, Kind::Country]
    );
    let codes = "HI*ABK:J0390*BBR:0DTJ0ZZ:D8:20240101*BH:11:D8:20240102*DR:470";
    assert_eq!(of(codes, 1, 2), Kind::Clinical(CodeList::Icd10Diagnosis));
    assert_eq!(of(codes, 2, 2), Kind::Clinical(CodeList::Icd10Procedure));
    assert_eq!(of(codes, 2, 4), Kind::Date(DateFormat::Day, DateOf::Service));
    assert_eq!(of(codes, 3, 2), Kind::Clinical(CodeList::Occurrence));
    assert_eq!(of(codes, 4, 2), Kind::Clinical(CodeList::Drg));
    assert_eq!(of("CLM*26407789*79.04***11:B:1", 1, 1), Kind::Identifier(Id::Claim));
    assert_eq!(of("CLM*26407789*79.04***11:B:1", 2, 1), Kind::Amount);
    assert_eq!(of("CLM*26407789*79.04***11:B:1", 5, 1), Kind::Code);
    assert_eq!(of("CLP*A*1*8*4*3*12*94060", 7, 1), Kind::Identifier(Id::PayerClaim));
    assert_eq!(of("SV1*HC:99213:25::::FREE TEXT*43", 1, 2), Kind::Clinical(CodeList::Hcpcs));
    assert_eq!(of("SV1*HC:99213:25::::FREE TEXT*43", 1, 7), Kind::Text);
    assert_eq!(of("SV2*0300*HC:81000*5", 1, 1), Kind::Clinical(CodeList::Revenue));
    assert_eq!(of("LIN**N4*01234567891", 3, 1), Kind::Clinical(CodeList::Ndc));
    assert_eq!(of("BHT*0019*00*REFNO*20240101*1200*CH", 3, 1), Kind::Identifier(Id::Trace));
    assert_eq!(of("BHT*0019*00*REFNO*20240101*1200*CH", 4, 1), Kind::Date(DateFormat::Day, DateOf::Business));
    assert_eq!(of("TRN*1*7170066655*1935665544", 2, 1), Kind::Identifier(Id::Trace));
    assert_eq!(of("NTE*ADD*HER SISTER CALLED", 2, 1), Kind::Text);
    assert_eq!(of("K3*ANYTHING", 1, 1), Kind::Text);
    // What X12 does not have is told as such.
    assert_eq!(of("N4*A*B*C*D*E*F*G*H", 8, 1), Kind::Unknown);
    assert_eq!(of("N4*A:B", 1, 2), Kind::Unknown);
    assert_eq!(of("ZZZ*A", 1, 1), Kind::Unknown);
    assert_eq!(of("a line of text", 1, 1), Kind::Unknown);
    assert!(Dictionary::get().segment("ZZZ").is_none());
}

#[test]
fn edits_stay_in_their_place() {
    with_set("005010X222A1", "ST*837*1~NM1*IL*1*DOE*JOHN~REF*EA*A^B:C~SE*3*1~\r\n", |set| {
        let name = set.segment(1).unwrap();
        let mut edits = Edits::default();
        edits.replace(&name.element(3).unwrap(), "R*O:E~\n").unwrap();
        assert_eq!(
            edits.replace_raw(&name.element(4).unwrap(), b"A~B"),
            Err(EditError::Delimiter { offset: name.element(4).unwrap().span().start })
        );
        edits.replace_raw(&name.element(4).unwrap(), b"A:B").unwrap();
        assert!(matches!(edits.replace(&name.element(3).unwrap(), "X"), Err(EditError::OutOfOrder { .. })));
        edits.remove(&set.segment(2).unwrap()).unwrap();
        let mut out = Vec::new();
        edits.write(set, &mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "ST*837*1~NM1*IL*1*R O E  *A:B~SE*3*1~\r\n");
        let values: Vec<_> =
            set.segment(2).unwrap().element(2).unwrap().leaves().map(|l| (l.repetition, l.component)).collect();
        assert_eq!(values, [(1, 1), (2, 1), (2, 2)]);
    });
    let mut out = b"kept".to_vec();
    assert!(
        splice(b"abc", [(1..9, "x")], &mut out).is_err() && splice(b"abc", [(1..2, ""), (0..1, "")], &mut out).is_err()
    );
    assert_eq!(out, b"kept");
    assert_eq!(escape("plain", &Delimiters::USUAL), "plain");
    assert_eq!(&*encode("é€", false), b"\xE9?");
    // A set in Latin-1 stays in Latin-1.
    let text = [ISA.as_bytes(), b"ST*837*1~NM1*IL*1*MU\xD1OZ~SE*1*1~"].concat();
    let batch = read(&text);
    let set = batch.parse(1).unwrap();
    assert_eq!(set.segment(1).unwrap().element(3).unwrap().text(), "MUÑOZ");
    assert!(replaced_by_itself(&set) == batch.raw(1));
    let envelope = Envelope::new(ISA.as_bytes(), b"GS*HC*NEW*B~").unwrap();
    let again = parse(batch.raw(1), &Arc::new(envelope)).unwrap();
    assert_eq!(again.envelope().group(2).as_deref(), Some("NEW"));
    assert_eq!(again.envelope().interchange(6).as_deref(), Some("SENDER"));
    assert!(Envelope::new(b"GS*HC~", b"").is_none());
}

fn flat(version: &str, set: &str) -> Vec<(String, RecordBatch)> {
    with_set(version, set, |set| tables::flatten(std::slice::from_ref(set)).unwrap())
}

/// The texts of one column; `-` for null.
fn column(flat: &[(String, RecordBatch)], table: &str, column: &str) -> Vec<String> {
    let rows = &flat.iter().find(|(name, _)| name == table).unwrap().1;
    assert_eq!(rows.schema(), tables::table_schema(table).unwrap());
    let values = rows.column_by_name(column).unwrap();
    if let Some(numbers) = values.as_primitive_opt::<Int32Type>() {
        return numbers.iter().map(|n| n.map_or("-".to_owned(), |n| n.to_string())).collect();
    }
    values.as_string_view().iter().map(|text| text.unwrap_or("-").to_owned()).collect()
}

#[test]
fn claims_become_rows() {
    let flat = flat("005010X222A1", CLAIM);
    let names: Vec<_> = flat.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["transaction", "claim", "service_line", "segment"]);
    let check = |table: &str, name: &str, expected: &[&str]| assert_eq!(column(&flat, table, name), expected, "{name}");
    check("transaction", "set_control", &["0021"]);
    check("transaction", "sender", &["GS-A"]);
    check("transaction", "reference", &["0123"]);
    check("transaction", "text", &[CLAIM]);
    check("claim", "interchange_control", &["000000001", "000000001"]);
    check("claim", "segment", &["21", "43"]);
    check("claim", "subject", &["2", "3"]);
    check("claim", "claim_id", &["26407789", "C2"]);
    check("claim", "subscriber_id", &["111223333", "M2"]);
    check("claim", "patient_id", &["-", "M2"]);
    check("claim", "patient_birth_date", &["19730501", "-"]);
    check("claim", "patient_gender", &["M", "-"]);
    check("claim", "billing_provider_npi", &["1999996666", "1999996666"]);
    check("claim", "rendering_provider_npi", &["1999996667", "-"]);
    check("claim", "payer_id", &["999996666", "-"]);
    check("claim", "total_charge", &["79.04", "10"]);
    check("claim", "place_of_service", &["11", "12"]);
    check("claim", "frequency", &["1", "7"]);
    check("claim", "principal_diagnosis", &["J0390", "-"]);
    check("claim", "diagnoses", &["J0390 Z1159 J20", "-"]);
    check("claim", "service_from", &["20051003", "20060101"]);
    check("claim", "service_to", &["20051006", "20060101"]);
    check("claim", "admission", &["20051001", "-"]);
    check("claim", "medical_record", &["MRN7", "-"]);
    check("service_line", "claim_id", &["26407789", "26407789", "C2"]);
    check("service_line", "line", &["1", "2", "1"]);
    check("service_line", "procedure", &["99213", "90782", "99211"]);
    check("service_line", "modifiers", &["25 GT", "-", "-"]);
    check("service_line", "charge", &["43.00", "15.00", "10"]);
    check("service_line", "diagnosis_pointers", &["1 2 3 4", "-", "-"]);
    check("service_line", "date_from", &["20051003", "20051004", "20060101"]);
    check("service_line", "date_to", &["20051003", "20051006", "20060101"]);
    check("service_line", "line_control", &["L1", "-", "-"]);
    assert_eq!(column(&flat, "segment", "name")[20], "CLM");
    assert_eq!(column(&flat, "segment", "loop")[20], "2300");
    assert_eq!(column(&flat, "segment", "level")[20], "3");
    assert_eq!(column(&flat, "segment", "e5")[20], "11:B:1");
}

#[test]
fn payments_members_benefits_and_statuses_become_rows() {
    let paid = flat(
        "005010X221A1",
        "ST*835*1~BPR*I*945*C*ACH************20240301~TRN*1*7*1935665544~N1*PR*RUSHMORE~N1*PE*ACME*XX*5544~LX*1~\
         CLP*A*1*800*450*300*12*94060~NM1*QC*1*BUDD*WILLIAM****MI*333~SVC*HC:99211:25*800*500*0300*2~DTM*150*20020301~\
         DTM*151*20020304~REF*6R*L1~SVC*HC:2*1*1~CLP*B*4*1*0~DTM*232*20240101~DTM*233*20240102~SE*1*1~",
    );
    let check = |table: &str, name: &str, expected: &[&str]| assert_eq!(column(&paid, table, name), expected, "{name}");
    check("transaction", "created", &["20240301"]);
    check("claim", "claim_id", &["A", "B"]);
    check("claim", "status", &["1", "4"]);
    check("claim", "paid", &["450", "0"]);
    check("claim", "patient_responsibility", &["300", "-"]);
    check("claim", "payer_claim_control", &["94060", "-"]);
    check("claim", "payer_id", &["1935665544", "1935665544"]);
    check("claim", "billing_provider_npi", &["5544", "5544"]);
    check("claim", "patient_id", &["333", "-"]);
    check("claim", "service_from", &["20020301", "20240101"]);
    check("claim", "service_to", &["20020304", "20240102"]);
    check("service_line", "line", &["1", "2"]);
    check("service_line", "procedure", &["99211", "2"]);
    check("service_line", "revenue_code", &["0300", "-"]);
    check("service_line", "units", &["2", "-"]);

    let members = flat(
        "005010X220A1",
        "ST*834*1~BGN*00*R*20240101~INS*Y*18*030*XN*A***FT~REF*0F*S1~REF*1L*G1~NM1*IL*1*DOE*JOHN****34*123~DMG*D8*19400816*M~\
         NM1*70*1*DOE~DMG*D8*19400817*F~HD*030**HLT*PLAN*FAM~DTP*348*D8*20240101~DTP*349*D8*20241231~HD*030**DEN~INS*N*19*030~REF*0F*S1~SE*1*1~",
    );
    let check = |name: &str, expected: &[&str]| assert_eq!(column(&members, "member", name), expected, "{name}");
    check("is_subscriber", &["Y", "N"]);
    check("member_id", &["123", "-"]);
    check("subscriber_id", &["S1", "S1"]);
    check("birth_date", &["19400816", "-"]);
    check("insurance_lines", &["HLT DEN", "-"]);
    check("coverage_to", &["20241231", "-"]);
    check("subject", &["1", "2"]);

    let benefits = flat(
        "005010X279A1",
        "ST*271*1*005010X279A1~BHT*0022*11*1~HL*1**20*1~NM1*PR*2*A*****PI*P1~HL*2*1*21*1~NM1*1P*2*B*****XX*N1~HL*3*2*22*1~TRN*2*T9~\
         NM1*IL*1*DOE*JANE****MI*M1~HL*4*3*23*0~NM1*03*1*DOE*SON~EB*1**30^98*HM*GOLD*23*50~DTP*291*RD8*20240101-20241231~MSG*A~MSG*B~\
         LS*2120~NM1*P3*1*X*****XX*9~LE*2120~EB*C~SE*1*1~",
    );
    let check = |name: &str, expected: &[&str]| assert_eq!(column(&benefits, "eligibility", name), expected, "{name}");
    check("payer_id", &["P1", "P1"]);
    check("provider_id", &["N1", "N1"]);
    check("subscriber_id", &["M1", "M1"]);
    check("patient_id", &["-", "-"]);
    check("information", &["1", "C"]);
    check("service_types", &["30^98", "-"]);
    check("date_to", &["20241231", "-"]);
    check("message", &["A B", "-"]);
    check("subject", &["2", "2"]);

    let statuses = flat(
        "005010X214",
        "ST*277*1*005010X214~BHT*0085*08*1~HL*1**20*1~NM1*PR*2*A~HL*2*1*21*1~NM1*41*2*T~TRN*2*B~STC*A1:20*20240101*WQ*199~HL*3*2*19*1~\
         NM1*85*2*P~HL*4*3*PT~NM1*QC*1*DOE*JOHN****MI*M1~TRN*2*C1~STC*A7:562:85*20240102*U*10********TEXT~REF*1K*PC~DTP*472*D8*20231231~SE*1*1~",
    );
    let check = |name: &str, expected: &[&str]| assert_eq!(column(&statuses, "status", name), expected, "{name}");
    check("loop", &["2200B", "2200D"]);
    check("trace", &["B", "C1"]);
    check("category", &["A1", "A7"]);
    check("entity", &["-", "85"]);
    check("message", &["-", "TEXT"]);
    check("payer_claim_control", &["-", "PC"]);
    check("service_from", &["-", "20231231"]);
    check("patient_id", &["-", "M1"]);
    check("subject", &["-", "1"]);
}

#[test]
fn every_column_is_of_elements_that_exist() {
    for table in tables::TABLES {
        for column in tables::columns(table).unwrap() {
            for (segment, element) in column.sources {
                let known = Dictionary::get().element(segment, usize::from(*element));
                assert!(known.is_some(), "{table}.{}: {segment}-{element}", column.name);
            }
        }
    }
    assert!(tables::table_schema("canary").is_none());
    let empty = tables::flatten(&[]).unwrap();
    assert_eq!(empty.iter().map(|(_, rows)| rows.num_rows()).sum::<usize>(), 0);
}

#[test]
fn hostile_files_cost_no_more_than_their_bytes() {
    let n = 200_000;
    let floods = [
        "ISA*".repeat(n),
        "ISA".repeat(n),
        format!("{ISA}{}", "\n".repeat(4 * n)),
        format!("{ISA}{}", "~".repeat(4 * n)),
        format!("{ISA}ST*837*1~{}", "HL*1*1*22*1~".repeat(n / 4)),
        format!("{ISA}ST*837*1~NM1{}", "*A".repeat(n)),
        format!("{ISA}ST*837*1~HI*{}", "A:".repeat(n)),
        format!("{ISA}ST*837*1~HI*{}", "A^".repeat(n)),
        format!("{ISA}ST*837*1~HL*1**20~HL*2*1*22~CLM*1~{}", "LX*1~REF*QQ*1~ZZZ~".repeat(n / 10)),
        ISA.repeat(n / 40),
        "IEAISA*".repeat(n),
        format!("{ISA}IEA{}", "ISA*".repeat(n)),
    ];
    let begun = std::time::Instant::now();
    for text in &floods {
        let all = batches(text.as_bytes(), 1 << 16, 1 << 16, 1 << 18);
        let kept: usize = all.iter().map(|batch| batch.bytes.len()).sum();
        let cut: u64 = all
            .iter()
            .flat_map(|batch| &batch.rejects)
            .map(|r| if r.cut > 0 { r.raw.len() as u64 + r.cut } else { 0 })
            .sum();
        assert!(kept as u64 + cut >= text.len() as u64);
        for batch in &all {
            let sets: Vec<_> = (0..batch.len().min(2000)).map(|index| batch.parse(index).unwrap()).collect();
            for set in &sets {
                set.segments().for_each(|segment| facts(&segment, |_| ()));
            }
            tables::flatten(&sets).unwrap();
        }
    }
    assert!(begun.elapsed().as_secs() < 60, "{:?}", begun.elapsed());
}

/// Bytes of which many are syntax.
fn syntactic() -> impl Strategy<Value = Vec<u8>> {
    let pieces = prop::sample::select(vec![
        ISA,
        "ISA*",
        "GS*HC*A~",
        "ST*837*1~",
        "ST*835*1",
        "SE*1*1~",
        "GE*1~",
        "IEA*1*1",
        "~",
        "\n",
        "\r\n",
        "*",
        ":",
        "^",
        "HL*1**20~",
        "HL*2*1*22~",
        "NM1*IL*1*DOE",
        "CLM*1*2",
        "LX*1~",
        "CLP*1",
        "SVC*HC:1~",
        "REF*EA*1",
        " ",
        "\u{feff}",
        "é",
        "N3*",
        "HI*ABK:J2",
        "INS*Y",
        "EB*1",
        "STC*A:B",
        "DTP*472*RD8*1-2~",
    ]);
    prop::collection::vec(
        prop_oneof![8 => pieces.prop_map(|p| p.as_bytes().to_vec()), 1 => prop::collection::vec(any::<u8>(), 0..4)],
        0..60,
    )
    .prop_map(|pieces| pieces.concat())
}

fn holds(bytes: &[u8], chunk: usize, batch_bytes: usize) {
    let is_wide = [&b"\xFF\xFE"[..], b"\xFE\xFF", b"\0\0\xFE\xFF"].iter().any(|mark| bytes.starts_with(mark));
    if is_wide {
        return;
    }
    let mut together = Vec::new();
    for batch in batches(bytes, chunk, batch_bytes, 1 << 20) {
        let mut end = 0;
        for (index, record) in batch.records.iter().enumerate() {
            assert!(record.span.start >= end);
            end = record.span.end;
            let set = batch.parse(index).unwrap();
            assert!(!set.is_empty());
            assert!(unchanged(&set) == batch.raw(index));
            assert_eq!(Outline::of(&set).places.len(), set.len());
            let mut at = 0;
            for segment in set.segments() {
                assert_eq!(segment.line_span().start, at);
                at = segment.line_span().end;
                facts(&segment, |_| ());
            }
            assert_eq!(at, set.bytes().len());
            let _ = tables::flatten(&[set]).unwrap();
        }
        together.extend_from_slice(&batch.bytes);
    }
    let blank = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    if !together.is_empty() || !blank.trim_ascii().is_empty() {
        assert!(
            together == bytes
                || blank.iter().all(|b| b.is_ascii_whitespace() || [0, 0x1A, 0xEF, 0xBB, 0xBF].contains(b))
        );
    }
    assert!(seen_in(bytes, chunk, batch_bytes, 1 << 20) == seen_in(bytes, usize::MAX, 1 << 20, 1 << 20));
}

proptest! {
    #[test]
    fn any_bytes_come_back(bytes in prop::collection::vec(any::<u8>(), 0..300), chunk in 1_usize..50) {
        holds(&bytes, chunk, 64);
        holds(&[ISA.as_bytes(), &bytes].concat(), chunk, 64);
    }

    #[test]
    fn any_syntax_comes_back(bytes in syntactic(), chunk in 1_usize..50) {
        holds(&bytes, chunk, 64);
        holds(&[ISA.as_bytes(), &bytes].concat(), chunk, 1000);
    }
}

#[test]
fn a_set_and_its_header_are_an_interchange_again() {
    let text = format!(
        "{ISA}GS*HC*A*B*20240102*1200*42*X*005010X222A1~\r\nST*837*1~\r\nSE*2*1~\r\nST*837*2~SE*2*2~GE*2*42~IEA*1*1~"
    );
    let batch = read(text.as_bytes());
    let is_set = |index: &usize| batch.records[*index].kind == RecordKind::Transaction;
    let sets: Vec<usize> = (0..batch.records.len()).filter(is_set).collect();
    let envelope = &batch.records[sets[0]].envelope;
    let again = envelope.interchange_of(sets.iter().map(|index| batch.raw(*index)));
    let again = read(&again);
    let kinds: Vec<_> = again.records.iter().map(|record| record.kind).collect();
    assert_eq!(kinds.iter().filter(|kind| **kind == RecordKind::Transaction).count(), 2);
    let at = |kind| kinds.iter().position(|known| *known == kind).unwrap();
    let trailer = again.parse(at(RecordKind::GroupTrailer)).unwrap();
    assert_eq!((trailer.segment(0).unwrap().code(1), trailer.segment(0).unwrap().code(2)), (&b"2"[..], &b"42"[..]));
    let trailer = again.parse(at(RecordKind::InterchangeTrailer)).unwrap();
    let number = envelope.interchange(13).unwrap();
    assert_eq!(trailer.segment(0).unwrap().element(2).unwrap().text(), number);
    assert_eq!(again.raw(2), b"ST*837*1~\r\nSE*2*1~\r\n");
}

#[test]
fn identifiers_come_with_the_qualifier_that_tells_them() {
    let text = format!("{ISA}ST*837*1~REF*SY*7**EI:8~NM1*IL*1*DOE*****MI*9~SE*4*1~");
    let all = read(text.as_bytes());
    let index = all.records.iter().position(|record| record.kind == RecordKind::Transaction).unwrap();
    let set = all.parse(index).unwrap();
    let mut told = Vec::new();
    for segment in set.segments() {
        facts(&segment, |fact| {
            if !fact.qualifier.is_empty() {
                told.push((fact.qualifier.to_vec(), fact.leaf.value.bytes().to_vec()));
            }
        });
    }
    let want = [("SY", "7"), ("EI", "8"), ("MI", "9")];
    assert_eq!(told, want.map(|(qualifier, value)| (qualifier.as_bytes().to_vec(), value.as_bytes().to_vec())));
    let guide = Dictionary::get().guide("005010X222", "837").unwrap();
    assert!(guide.has("2010BA", "N3") && !guide.has("2010BA", "CLM") && !guide.has("2010XX", "N3"));
}
