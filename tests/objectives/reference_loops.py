"""The objectives as written in the papers: loops over rows and classes, one number at a time."""

import math

import torch


def log_softmax(z, temperature=1.0):
    """The log-probabilities of one row of logits, as a list."""
    z = [value / temperature for value in z]
    most = max(float(value.detach()) for value in z)
    total = sum(torch.exp(value - most) for value in z)
    return [value - most - torch.log(total) for value in z]


def kl(target, student, temperature=1.0):
    """T^2 KL(target || student) of one row."""
    p, s = log_softmax(target.detach(), temperature), log_softmax(student, temperature)
    return temperature**2 * sum(torch.exp(a) * (a - b) for a, b in zip(p, s, strict=True))


def cross_entropy(student, label):
    return -log_softmax(student)[int(label)]


def mean(values):
    values = list(values)
    return sum(values) / len(values)


def first_highest(values):
    values = [float(value.detach()) if isinstance(value, torch.Tensor) else value for value in values]
    return values.index(max(values))


def xe_kl(student, teacher, labels, alpha, temperature):
    divergence = mean(kl(t, s, temperature) for t, s in zip(teacher, student, strict=True))
    supervised = mean(cross_entropy(student[i], label) for i, label in enumerate(labels))
    return alpha * divergence + (1 - alpha) * supervised


def mcl(student, teacher, labels, alpha, k, temperature):
    kept = []
    for s, t, y in zip(student, teacher, labels, strict=True):
        if first_highest(t) != y and first_highest(s) == y:
            continue
        highest = sorted(range(len(t)), key=lambda c, t=t: -float(t[c]))[:k]
        kept.append(kl(t[highest], s[highest], temperature))
    divergence = mean(kept) if kept else 0.0
    return alpha * divergence + (1 - alpha) * mean(cross_entropy(s, y) for s, y in zip(student, labels, strict=True))


def choose(original, teachers, labels, select, confidence):
    """For each row 0, the original student, or 1 + the index of the teacher that it learns from."""
    choices = []
    for row, own in enumerate(original):
        candidates = [own, *(teacher[row] for teacher in teachers)]
        confidences = []
        for logits in candidates:
            scores = [float(v) for v in (logits if confidence == "logit" else log_softmax(logits))]
            confidences.append(max(scores) if labels is None else scores[int(labels[row])])
        choice = 0
        for index in range(1, len(candidates)):
            if select == "prob" and confidences[index] > confidences[choice]:
                choice = index
            if select == "flip":
                flips = first_highest(candidates[index]) == labels[row] != first_highest(own)
                if flips and (choice == 0 or confidences[index] > confidences[choice]):
                    choice = index
        choices.append(choice)
    return choices


def dp(student, original, teachers, labels, select, confidence, temperature):
    chosen = choose(original, teachers, labels, select, confidence)
    targets = [([original, *teachers])[choice][row] for row, choice in enumerate(chosen)]
    return mean(kl(t, s, temperature) for t, s in zip(targets, student, strict=True))


def flips(original, teachers, labels, chosen):
    """Four counts: positive flips, those assigned to a right teacher, negative flips, those assigned to a wrong one."""
    counts = [0, 0, 0, 0]
    for row, y in enumerate(labels.tolist()):
        own = first_highest(original[row]) == y
        theirs = [first_highest(teacher[row]) == y for teacher in teachers]
        choice = chosen[row]
        if not own and any(theirs):
            counts[0] += 1
            counts[1] += choice > 0 and theirs[choice - 1]
        if own and not all(theirs):
            counts[2] += 1
            counts[3] += choice > 0 and not theirs[choice - 1]
    return counts


def heads(labelled, labels, student, pool, cross_task_term, lam, cross_task, sharpen):
    """`student`, `pool` (rows, classes) of the rows without labels; `cross_task_term`: the sources' part, a number."""
    divergences = []
    for answers, z in zip(pool, student, strict=True):
        q = [float(value) / float(answers.sum()) for value in answers]
        q = [value ** (1 / sharpen) for value in q]
        q = [value / sum(q) for value in q]
        divergences.append(sum(a * (math.log(a) - b) for a, b in zip(q, log_softmax(z), strict=True) if a > 0))
    supervised = mean(cross_entropy(z, y) for z, y in zip(labelled, labels, strict=True))
    distilled = (1 - cross_task) * mean(divergences) + cross_task * cross_task_term
    return lam * supervised + (1 - lam) * distilled


def fixmatch(labelled, labels, weak, strong, threshold, temperature, weights):
    supervised = mean(cross_entropy(z, y) for z, y in zip(labelled, labels, strict=True))
    unsupervised = 0.0
    for w, s in zip(weak, strong, strict=True):
        q = [float(torch.exp(v)) for v in log_softmax(w.detach(), temperature)]
        if max(q) >= threshold:
            unsupervised = unsupervised + cross_entropy(s, first_highest(q))
    return weights[0] * supervised + weights[1] * unsupervised / len(weak)
