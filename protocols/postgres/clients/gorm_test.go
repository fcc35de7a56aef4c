package clients_test

import (
	"context"
	"errors"
	"time"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"
	"gorm.io/gorm/logger"

	"gatehouse/protocols/postgres/clients/internal/lab"
)

type author struct {
	ID    uint
	Name  string         `gorm:"uniqueIndex;not null"`
	Score float64        `gorm:"type:numeric(10,2)"`
	Facts map[string]any `gorm:"type:jsonb;serializer:json"`
	Born  time.Time
	Books []book
}

type book struct {
	ID       uint
	AuthorID uint `gorm:"index"`
	Title    string
	Cover    []byte
}

type customer struct {
	ID          int
	Name, Email string
}

// gormClient is an ORM's work: making and changing a schema, models, relations,
// transactions, batches, errors.
func gormClient(ctx context.Context, w lab.Way, show printer) error {
	db, err := gorm.Open(postgres.Open(w.String()+" TimeZone=UTC"), &gorm.Config{Logger: logger.Discard, TranslateError: false})
	if err != nil {
		return err
	}
	raw, err := db.DB()
	if err != nil {
		return err
	}
	defer raw.Close()
	db = db.WithContext(ctx)
	for range 2 { // the second time it compares with what is there
		if err := db.AutoMigrate(&author{}, &book{}); err != nil {
			return err
		}
	}
	tables, err := db.Migrator().GetTables()
	show("tables", len(tables), code(err))
	types, err := db.Migrator().ColumnTypes(&author{})
	for _, t := range types {
		null, _ := t.Nullable()
		show("column", t.Name(), t.DatabaseTypeName(), null)
	}
	show("columns", code(err))
	var authors []author
	for i := range 5 {
		authors = append(authors, author{Name: string(rune('a' + i)), Score: float64(i) / 4, Facts: map[string]any{"n": i},
			Born: time.Date(1970+i, 1, 1, 0, 0, 0, 0, time.UTC), Books: []book{{Title: "one", Cover: []byte{0, 255}}, {Title: "two"}}})
	}
	show("created", code(db.Create(&authors).Error), authors[4].ID, authors[4].Books[1].ID)
	var found []author
	err = db.Preload("Books", func(db *gorm.DB) *gorm.DB { return db.Order("id") }).Where("score > ?", 0.3).Order("id").Find(&found).Error
	show("found", found, code(err))
	show("updated", code(db.Model(&found[0]).Updates(map[string]any{"score": 9.75, "facts": gorm.Expr("facts || '{\"m\": 1}'")}).Error))
	show("duplicate", code(db.Create(&author{Name: "a"}).Error))
	show("upsert", code(db.Clauses(clause.OnConflict{Columns: []clause.Column{{Name: "name"}}, UpdateAll: true}).Create(&author{Name: "a", Score: 7}).Error))
	show("transaction", code(db.Transaction(func(tx *gorm.DB) error {
		if err := tx.Create(&author{Name: "outer"}).Error; err != nil {
			return err
		}
		show("nested", code(tx.Transaction(func(tx *gorm.DB) error { return tx.Create(&author{Name: "outer"}).Error })))
		show("refused", code(tx.Transaction(func(tx *gorm.DB) error { return tx.Exec("SELECT * FROM vault WHERE secret = ?", "x").Error })))
		return nil
	})))
	show("undone", code(db.Transaction(func(tx *gorm.DB) error {
		return errors.Join(tx.Create(&author{Name: "undone"}).Error, tx.Exec("DELETE FROM vault").Error)
	})))
	var n int64
	show("counted", code(db.Model(&author{}).Where("name IN ?", []string{"outer", "undone"}).Count(&n).Error), n)
	var batches []int
	err = db.FindInBatches(&[]book{}, 3, func(tx *gorm.DB, batch int) error {
		batches = append(batches, int(tx.RowsAffected))
		return nil
	}).Error
	show("batches", batches, code(err))
	var customers []customer
	show("masked", code(db.Order("id").Find(&customers).Error), customers)
	show("dropped", code(db.Migrator().DropTable(&book{}, &author{})))
	return nil
}
