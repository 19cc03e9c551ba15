"""What every table of settings is."""

from pydantic import BaseModel, ConfigDict


class SettingError(ValueError):
    """A user's mistake, in one line: the setting, its value, what is allowed."""


class Section(BaseModel):
    """A table of the configuration file. Unknown keys are errors; values are never silently converted."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True, allow_inf_nan=False
    )
