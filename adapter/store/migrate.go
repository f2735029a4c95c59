package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"

	"go.etcd.io/bbolt"
)

// schema is what this Postern writes. Version 1 had no checksums and no sums, and no table of claims: who had what was found
// by reading every project. Deployed and undeployed projects were one table. Version 2 kept nothing of projects that are not pushed.
const schema = 3

func (x *txn) setSchema(version int) error {
	meta, err := x.bucket(bucketMeta)
	if err != nil {
		return err
	}
	return meta.Put(keySchema, []byte(strconv.Itoa(version)))
}

func schemaOf(tx *bbolt.Tx) (int, error) {
	meta := tx.Bucket(bucketMeta)
	if meta == nil {
		return 0, fmt.Errorf("%w: it does not say which schema it has", ErrDamaged)
	}
	version, err := strconv.Atoi(string(meta.Get(keySchema)))
	if err != nil || version < 1 {
		return 0, fmt.Errorf("%w: its schema is %q", ErrDamaged, meta.Get(keySchema))
	}
	return version, nil
}

// newerError refuses what a newer Postern wrote.
func newerError(what string, version int) error {
	return fmt.Errorf("%s has the schema %d and this Postern knows those up to %d: use the version that wrote it, or a backup from before", what, version, schema)
}

// migrate brings a file to the present schema, in one transaction, and keeps what it was in a file beside it.
func migrate(db *bbolt.DB, path string, log *slog.Logger) error {
	return guard(func() error {
		var version int
		err := db.View(func(tx *bbolt.Tx) (err error) {
			version, err = schemaOf(tx)
			return err
		})
		if err != nil || version == schema {
			return err
		}
		if version > schema {
			return newerError(path, version)
		}
		aside := fmt.Sprintf("%s.schema%d", path, version)
		if err := keep(db, aside); err != nil {
			return fmt.Errorf("cannot keep the store as it is in %s, so its schema stays %d: %w", aside, version, err)
		}
		if err := upgrade(db); err != nil {
			return fmt.Errorf("%s cannot be brought from schema %d to %d, and is as it was: %w", path, version, schema, err)
		}
		log.Info("the store has a new schema; the file as it was is kept", "file", path, "from", version, "to", schema, "kept", aside)
		return nil
	})
}

// upgrade brings a store to the present schema, in one transaction.
func upgrade(db *bbolt.DB) error {
	return db.Update(func(tx *bbolt.Tx) error {
		version, err := schemaOf(tx)
		switch {
		case err != nil:
			return err
		case version == 1:
			return migrateFrom1(tx)
		case version == 2:
			return migrateFrom2(tx)
		}
		return nil
	})
}

// bucketsOf are the names of those that a store of a schema has.
func bucketsOf(version int) []string {
	if version == 1 {
		return []string{string(bucketMeta), string(bucketChunks), "projects", "revisions", "rollouts", "open", "ended", "contents"}
	}
	names := []string{string(bucketMeta), string(bucketChunks)}
	for _, t := range tables {
		if version > 2 || t != keeping {
			names = append(names, string(t))
		}
	}
	return names
}

// foundAs makes the buckets of a store of some schema.
func foundAs(tx *bbolt.Tx, version int) error {
	for _, name := range bucketsOf(version) {
		if _, err := tx.CreateBucketIfNotExists([]byte(name)); err != nil {
			return err
		}
	}
	return (&txn{Tx: tx}).setSchema(version)
}

// keep writes the file as it is to another one, whole or not at all.
func keep(db *bbolt.DB, path string) error {
	temporary, err := os.CreateTemp(filepath.Dir(path), ".postern-store-*")
	if err != nil {
		return err
	}
	defer os.Remove(temporary.Name())
	err = db.View(func(tx *bbolt.Tx) error {
		_, err := tx.WriteTo(temporary)
		return err
	})
	if err = errors.Join(err, temporary.Sync(), temporary.Close()); err != nil {
		return err
	}
	// why not over one that is there: it is what an earlier attempt kept, when nothing had been tried yet
	if err := place(temporary.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// migrateFrom1 seals every record, takes undeployed projects into a table of their own, and makes the table of claims.
func migrateFrom1(tx *bbolt.Tx) error {
	was := map[table]map[string][]byte{}
	for _, name := range bucketsOf(1) {
		b, t := tx.Bucket([]byte(name)), table(name)
		if b == nil {
			return fmt.Errorf("%w: it has no %s", ErrDamaged, t)
		}
		if t == table(bucketMeta) || t == table(bucketChunks) {
			continue
		}
		was[t] = map[string][]byte{}
		err := b.ForEach(func(key, value []byte) error {
			was[t][string(key)] = bytes.Clone(value)
			return nil
		})
		if err != nil {
			return err
		}
	}
	if err := found(tx); err != nil {
		return err
	}
	x := &txn{Tx: tx, sums: map[table]sum{}}
	for t, records := range was {
		if t == projects {
			continue // why: each needs its revision
		}
		for key, value := range records {
			if err := x.reseal(t, key, value); err != nil {
				return err
			}
		}
	}
	for name, value := range was[projects] {
		if err := x.moveProject(name, value); err != nil {
			return err
		}
	}
	all, err := x.open()
	if err != nil {
		return err
	}
	for _, r := range all {
		for _, claim := range r.Claims {
			if err := x.claimAnew(claim, claimRecord{Project: r.Project, Rollout: r.ID}); err != nil {
				return err
			}
		}
	}
	return x.writeSums()
}

// reseal writes a record of version 1 as one of version 2.
func (x *txn) reseal(t table, key string, content []byte) error {
	if !json.Valid(content) {
		return fmt.Errorf("%w: record %q of %s", ErrDamaged, key, t)
	}
	b, err := x.bucket([]byte(t))
	if err != nil {
		return err
	}
	if err := b.Delete([]byte(key)); err != nil { // why: what is there has no part in the sum
		return err
	}
	return x.put(t, key, json.RawMessage(content))
}

// moveProject writes a project of version 1, and claims what it has.
func (x *txn) moveProject(name string, content []byte) error {
	if err := x.reseal(projects, name, content); err != nil {
		return err
	}
	var p projectRecord
	if _, err := x.get(projects, name, &p); err != nil {
		return err
	}
	var r Revision
	if there, err := x.get(revisions, revisionKey(name, p.Current), &r); err != nil || !there {
		return errors.Join(err, fmt.Errorf("%w: revision %d of project %s is missing", ErrDamaged, p.Current, name))
	}
	if r.Digest == "" {
		return errors.Join(x.remove(projects, name), x.put(undeployed, name, projectRecord{Current: p.Current}))
	}
	for _, claim := range p.Claims {
		if err := x.claimAnew(claim, claimRecord{Project: name, Committed: true}); err != nil {
			return err
		}
	}
	return nil
}

// claimAnew adds to the table of claims.
func (x *txn) claimAnew(claim Claim, by claimRecord) error {
	var held claimRecord
	there, err := x.get(claims, string(claim), &held)
	if err != nil {
		return err
	}
	if there && held.Project != by.Project {
		return fmt.Errorf("the projects %s and %s both have %q", held.Project, by.Project, claim)
	}
	held.Project, held.Committed, held.Rollout = by.Project, held.Committed || by.Committed, by.Rollout
	return x.put(claims, string(claim), held)
}
