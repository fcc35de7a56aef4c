// Sequelize's ORM over node-postgres: making a schema, models, relations,
// transactions, bulk writes, errors.

import fs from "node:fs";
import { DataTypes, Op, Sequelize } from "sequelize";
import { code, show } from "./common.mjs";

const env = process.env;
const db = new Sequelize(env.PGDATABASE, env.PGUSER, env.PGPASSWORD, {
  dialect: "postgres", host: env.PGHOST, port: env.PGPORT, logging: false, pool: { max: 1 },
  dialectOptions: { ssl: { ca: fs.readFileSync(env.PGSSLROOTCERT, "utf8") } },
  define: { timestamps: false },
});
await db.authenticate();

const Author = db.define("Author", {
  name: { type: DataTypes.STRING, unique: true, allowNull: false },
  tags: DataTypes.ARRAY(DataTypes.TEXT),
  facts: DataTypes.JSONB,
  mood: DataTypes.ENUM("fine", "grim"),
  rating: DataTypes.DECIMAL(10, 2),
  ref: DataTypes.UUID,
  born: DataTypes.DATE,
});
const Book = db.define("Book", { title: DataTypes.TEXT, cover: DataTypes.BLOB });
Author.hasMany(Book);
Book.belongsTo(Author);
const Customer = db.define("customer", { name: DataTypes.TEXT, email: DataTypes.TEXT }, { tableName: "customers" });

await Author.sync();
await Book.sync();
await db.query('ALTER TABLE "Books" ADD COLUMN IF NOT EXISTS pages int');
show("tables", (await db.getQueryInterface().showAllTables()).map((t) => t.tableName ?? t).sort());
show("columns", await db.getQueryInterface().describeTable("Authors"));

for (let i = 0; i < 6; i++) {
  await Author.create({
    name: `Author ${i}`, tags: ["a,b", `t${i}`], facts: { n: i, deep: { x: [i] } }, mood: i % 2 ? "fine" : "grim", rating: i / 4,
    ref: "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", born: new Date(Date.UTC(1970 + i, 0, 1)),
    Books: [{ title: `Book ${i}`, cover: Buffer.from([0, i, 255]) }, { title: "another" }],
  }, { include: Book });
}
const authors = await Author.findAll({ include: Book, order: ["id", [Book, "id", "ASC"]], limit: 3, where: { facts: { n: { [Op.gt]: 1 } } } });
show("authors", authors.map((a) => a.toJSON()));
await authors[0].update({ tags: [], facts: null });
show("counts", await Book.count(), await Author.count({ where: { mood: "fine" } }), await Author.sum("rating"));
show("bulk", (await Author.bulkCreate([{ name: "Bulk 1" }, { name: "Bulk 2" }], { returning: true })).map((a) => a.name));
show("upsert", (await Author.upsert({ name: "Bulk 1", mood: "grim" }, { conflictFields: ["name"] }))[0].mood);
show("duplicate", await code(Author.create({ name: "Bulk 1" })));
show("increment", (await Author.increment("rating", { by: 2, where: { name: "Author 5" } }))[0][1]);

show("rolled back", await code(db.transaction(async (transaction) => {
  await Author.destroy({ where: {}, cascade: true, transaction });
  throw new Error("never mind");
})), await Author.count());
await db.transaction({ isolationLevel: "SERIALIZABLE" }, async (transaction) => {
  await Author.create({ name: "outer" }, { transaction });
  show("nested", await code(db.transaction({ transaction }, (nested) => Author.create({ name: "outer" }, { transaction: nested }))));
});
show("outer", await Author.count({ where: { name: "outer" } }));
show("refused", await code(db.query("SELECT * FROM vault")), await code(db.transaction(async (transaction) => {
  await Author.create({ name: "undone" }, { transaction });
  await db.query("SELECT * FROM vault WHERE secret = $1", { bind: ["x"], transaction });
})), await Author.count({ where: { name: "undone" } }));
show("masked", (await Customer.findAll({ order: ["id"] })).map((c) => c.toJSON()));
await Book.drop({});
await Author.drop({});
await db.close();
