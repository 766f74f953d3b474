"""Labels of several domains, one domain a step (paper 001, multi-domain experts)."""

from torch import Tensor, nn

from zoo_cli.objectives.supervised import Batch, Objective, compute_labelled_loss


class DomainLabels(Objective):
    """Mean cross-entropy of a batch of one domain, through that domain's part of the student."""

    def loss(self, student: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Logs `labelled_loss` and `labelled_accuracy`, a fraction, over all domains."""
        if batch.domain is not None:
            student.select_domain(batch.domain)  # type: ignore[operator]
        _, logits = student(batch.images)
        return compute_labelled_loss(logits, batch.labels)
