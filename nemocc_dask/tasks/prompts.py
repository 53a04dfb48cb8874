"""The words of the prompts, and nothing else. A document stands where `{document}` does; other braces are text."""

from __future__ import annotations

PARAPHRASE_MARKER = "Here is a paraphrased version:"
DISTILL_MARKER = "Paraphrased Text:"
PAIRS_MARKER = "Here are the questions and answers based on the provided text:"

HELPFUL = "You are a helpful assistant. You follow the request exactly and write nothing beside what it asks for."

FACTUAL = (
    "You are a careful expert whose reasoning is accurate and factual. You state only what the given text supports, "
    "you keep its logic intact, and you invent nothing."
)

_DOCUMENT = """

<document>
{document}
</document>"""

WIKIPEDIA_PARAPHRASING = f"""\
Put the text between the tags into other words, in the clear, neutral, well-formed prose of an encyclopedia article
such as one on Wikipedia. Stay in the language of the text. Keep its facts, names and figures; leave out noise.

Begin your answer with this line, and let the new text follow it:
{PARAPHRASE_MARKER}{_DOCUMENT}"""

DIVERSE_QA = f"""\
Read the text between the tags and write up to eight pairs of a question and its answer about it, in the language of
the text. Vary the kinds of question among these:
1. yes/no questions;
2. open questions (what, how, when, where, why, who);
3. multiple-choice questions, with the choices inside the question;
4. comparisons of two things the text mentions;
5. reading comprehension of a passage as a whole;
6. problem solving that applies what the text says.
Each question has to be understood without the text, each answer has to be supported by it, and the pairs should
cover all of the text rather than one part of it.

Begin your answer with this line:
{PAIRS_MARKER}
and then write each pair as one line of this form:
- Question: (the question) Answer: (the answer){_DOCUMENT}"""

DISTILL = f"""\
Condense the text between the tags into a shorter one that says all that matters in it. Keep the key information,
the technical terms, the figures, and the steps of any reasoning, in the order in which they build on each other.
Drop repetition, asides and decoration. Stay in the language of the text and add nothing that it does not say.

Begin your answer with this line, and let the condensed text follow it:
{DISTILL_MARKER}{_DOCUMENT}"""

EXTRACT_KNOWLEDGE = f"""\
Turn the knowledge in the text between the tags into knowledge passages as a textbook or an encyclopedia would print
them: facts, explanations, definitions, processes and their reasons, in full sentences, each passage understandable
by itself. Disregard whatever carries no facts, such as advertising, greetings, menus and opinions. Stay in the
language of the text. Write only the passages, with a blank line between two of them, without titles or headings.\
{_DOCUMENT}"""

KNOWLEDGE_LIST = f"""\
List what can be learnt from the text between the tags: its facts, its figures, and the concepts it explains. Write
a bulleted list with one item a line, each beginning with "- " and each a full statement that is understood without
the others. Stay in the language of the text. Write only the list, with no introduction and no closing words.\
{_DOCUMENT}"""

MULTILINGUAL_QA = """\
Write one question that an educated reader may ask about a topic of your choice (science, history, geography,
technology, culture or everyday life), and a correct, self-contained answer of a few sentences. Write both in
{language}. Begin your answer with the code {code}, then the question, then, on the next line, its answer."""
