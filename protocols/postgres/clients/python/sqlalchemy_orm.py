"""SQLAlchemy's ORM over psycopg2: making and reflecting a schema, units of work,
relations, eager loading, streaming, savepoints, errors."""

import decimal
import uuid

from sqlalchemy import ARRAY, JSON, Column, ForeignKey, Integer, MetaData, Numeric, String, create_engine, func, inspect, select, text
from sqlalchemy.dialects.postgresql import JSONB, UUID, insert
from sqlalchemy.exc import DBAPIError, IntegrityError, PendingRollbackError
from sqlalchemy.orm import Session, declarative_base, relationship, selectinload
from sqlalchemy.pool import QueuePool

from common import show

Base = declarative_base()


class Author(Base):
    __tablename__ = "authors"
    id = Column(Integer, primary_key=True)
    name = Column(String(80), nullable=False, unique=True)
    tags = Column(ARRAY(String))
    facts = Column(JSONB)
    ref = Column(UUID(as_uuid=True))
    books = relationship("Book", back_populates="author", cascade="all, delete-orphan", order_by="Book.id")


class Book(Base):
    __tablename__ = "books"
    id = Column(Integer, primary_key=True)
    title = Column(String, nullable=False)
    price = Column(Numeric(10, 2))
    meta = Column(JSON)
    author_id = Column(ForeignKey("authors.id"), index=True)
    author = relationship("Author", back_populates="books")


class Customer(Base):
    __tablename__ = "customers"
    id = Column(Integer, primary_key=True)
    name = Column(String)
    email = Column(String)


def code(run):
    try:
        run()
    except DBAPIError as e:
        return type(e).__name__, e.orig.pgcode
    except PendingRollbackError as e:
        return type(e).__name__
    return "no error"


# The host and the rest are libpq's environment.
engine = create_engine("postgresql+psycopg2://", future=True, poolclass=QueuePool, pool_size=2, pool_pre_ping=True)
Base.metadata.create_all(engine)
inspector = inspect(engine)
show("tables", sorted(inspector.get_table_names()))
show("columns", [(c["name"], str(c["type"]), c["nullable"]) for c in inspector.get_columns("books")])
show("keys", inspector.get_foreign_keys("books"), inspector.get_indexes("books"), inspector.get_pk_constraint("authors"))
reflected = MetaData()
reflected.reflect(engine)
show("reflected", sorted(reflected.tables))

with Session(engine) as session:
    session.add_all(
        Author(
            name=f"Author {i}", tags=["a", f"t{i}"], facts={"n": i}, ref=uuid.UUID(int=i),
            books=[Book(title=f"Book {i}.{k}", price=decimal.Decimal(k) / 4, meta=[k]) for k in range(3)],
        )
        for i in range(20)
    )
    session.commit()
    authors = session.scalars(select(Author).options(selectinload(Author.books)).order_by(Author.id).limit(3)).all()
    show("authors", [(a.name, a.tags, a.facts, str(a.ref), [(b.title, str(b.price), b.meta) for b in a.books]) for a in authors])
    authors[0].books.pop()
    authors[1].name = "Renamed"
    session.delete(authors[2])
    session.commit()
    show("counts", session.scalar(select(func.count()).select_from(Book)), session.get(Author, authors[1].id).name)
    show("by json", session.scalars(select(Author.name).where(Author.facts["n"].astext.cast(Integer) > 17).order_by(Author.id)).all())
    session.add(Author(name="Renamed"))
    show("duplicate", code(session.flush), code(lambda: session.scalar(select(1))))
    session.rollback()
    with session.begin_nested():
        session.add(Author(name="nested"))
    try:
        with session.begin_nested():
            session.add(Author(name="nested"))
    except IntegrityError as e:
        show("nested", e.orig.pgcode)
    session.commit()
    upsert = insert(Author).values(name="nested", tags=["up"]).on_conflict_do_update(index_elements=["name"], set_={"tags": ["down"]})
    show("upsert", session.execute(upsert.returning(Author.tags)).all())
    show("refused", code(lambda: session.execute(text("SELECT * FROM vault"))), code(lambda: session.execute(text("SELECT 1"))))
    session.rollback()
    show("nested", session.scalar(select(Author.tags).where(Author.name == "nested")))
    show("masked", [(c.id, c.name, c.email) for c in session.scalars(select(Customer).order_by(Customer.id))])

with engine.connect().execution_options(stream_results=True, max_row_buffer=100) as connection:
    show("streamed", sum(row.id for row in connection.execute(select(Book.id))))
with engine.connect().execution_options(isolation_level="SERIALIZABLE") as connection:
    show("isolation", connection.scalar(text("SHOW transaction_isolation")))
Base.metadata.drop_all(engine, tables=[Book.__table__, Author.__table__])
show("tables", sorted(inspect(engine).get_table_names()))
engine.dispose()
