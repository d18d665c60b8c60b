"""${message}"""

import sqlalchemy as sa
from alembic import op
${imports if imports else ""}
revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = None
depends_on = None


def upgrade() -> None:
    """The next version.

    op.batch_alter_table makes a table anew in SQLite; what points to it stays. For `runs` say
    table_kwargs={"sqlite_autoincrement": True}. Rows that must change are changed here, with SQL of both databases.
    """
    ${upgrades if upgrades else "pass"}
