"""What the page says its numbers mean: one place, plain words."""

from __future__ import annotations

INTRODUCTIONS = {
    "overall": "Rows with a verdict, by role. Rankings need no threshold; precision, recall and F1 are those of the "
    "shipped operating points (or the policy given).",
    "false_interventions": "Rows without harm on which something was found all the same. Most traffic is harmless: these "
    "numbers decide whether a guardrail can be used. Fewer than ten rows are greyed.",
    "sets": "The same as overall, for each set. A set without harmful or without harmless rows has no ranking; "
    "lines with fewer than ten of either are greyed.",
    "curves": "One threshold on the aggregate score as streamed, moved from the strictest to the laxest. The dot "
    "is what the operating points, one a category, do on the same rows; off the curve means that they judge better "
    "or worse than the aggregate score alone. The axis is logarithmic; rates of 0 are drawn at its left end. In the grey part fewer "
    "than one of the set's benign rows would be found: it cannot be measured with so few.",
    "onsets": "Rows whose text is known to turn harmful at a certain place.",
    "categories": "Rows whose labels say whether they have the category: labelled rows (severity 2 and more) against "
    "rows without harm. Harmful rows without that label are unknown and left out. Grey: fewer than ten positives.",
    "calibration": "Score at the end of the text against how often the label is there, in ten equally wide bins. The "
    "larger a dot, the more rows in its bin; on the dashed line scores are what they say. Categories with fewer than 20 "
    "known rows are not drawn.",
    "languages": "The same as overall, by the language of the row.",
    "run": "How this was measured.",
}

DEFINITIONS = {
    "as streamed": "The highest score at a token that a stream's judge is shown: every token of an answer, and of a user's "
    "turn those that end a sentence, a line or the turn.",
    "full text": "The score at the last token, when everything has been read.",
    "aggregate score": "any_harm where the pack has that category, otherwise the highest category. 'Highest category' "
    "ranks by the highest of all categories but any_harm.",
    "AUC": "Chance that a harmful row scores higher than a harmless one. 0.5 is guessing.",
    "AP": "Average precision: precision averaged over the recall gained at each threshold.",
    "best F1": "Highest F1 over all thresholds, chosen on these very rows: an upper bound.",
    "finding": "A score at or over its category's threshold for as many judged tokens in a row as the policy asks for "
    "(two in an answer unless it says otherwise), or up to the end of the text. Rows are flagged from severity 2 on, "
    "or where the policy changes the stream, just as guardrail score flags them.",
    "false findings": "Share of harmless rows that are flagged. Distress found in a harmless row labelled as distress "
    "is not false: it leads to an offer of help.",
    "missed": "Share of harmful rows that are not flagged.",
    "streaming cost": "F1 if only the last token were judged, less F1 as streamed, in points. Negative: a stream finds "
    "what the whole text no longer shows.",
    "95 % interval": "Wilson's score interval; for rates per 1,000 tokens each token counts as a trial.",
    "delay": "Tokens from the first harmful token up to the one that confirmed a finding, both included. Rows found "
    "before the onset are counted apart.",
    "leaked": "Harmful tokens released before the finding, if release trails scoring by so many tokens, or if "
    "only complete sentences leave (sentence). The default sidecar holds back by watching the score instead; these are "
    "what fixed hold-backs would do. Rows never found leak all they have.",
    "ECE": "Expected calibration error: gap between mean score and observed frequency, averaged over ten equally wide "
    "bins by their rows.",
}
