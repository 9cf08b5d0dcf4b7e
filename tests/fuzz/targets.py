"""All targets by name."""

from __future__ import annotations

from tests.fuzz import files, messages, texts
from tests.fuzz.target import Target

TARGETS = {
    target.name: target
    for target in (
        Target("command", texts.command, texts.COMMAND_TOKENS),
        Target("published", texts.published, texts.PUBLISHED_TOKENS),
        Target("secrets", texts.secrets, texts.SECRET_TOKENS),
        Target("hidden", texts.hidden, texts.HIDDEN_TOKENS),
        Target("parts", texts.parts, texts.PARTS_TOKENS),
        Target("diff", texts.diff, texts.DIFF_TOKENS),
        Target("spec", files.spec, files.SPEC_TOKENS),
        Target("policy", files.policy, files.POLICY_TOKENS),
        Target("path", files.path, files.PATH_TOKENS),
        Target("edits", files.edits, files.EDIT_TOKENS),
        Target("bundle", files.bundle, files.BUNDLE_TOKENS),
        Target("reply", messages.reply, messages.REPLY_TOKENS),
        Target("payload", messages.payload, messages.PAYLOAD_TOKENS),
        Target("page", messages.page, messages.PAGE_TOKENS),
    )
}
