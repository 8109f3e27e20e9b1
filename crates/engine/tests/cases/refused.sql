create table x as select * from t
create view v as select * from t
create external table x stored as parquet location '/etc'
create function f() returns int as '1'
drop table t
insert into t values (1)
insert overwrite t select * from t
update t set a = 1
delete from t
truncate table t
merge into t using t as s on t.a = s.a when matched then delete
copy t to '/tmp/x.csv'
copy (select * from t) to 's3://bucket/x.parquet'
set datafusion.execution.batch_size = 1
reset datafusion.execution.batch_size
show all
show datafusion.execution.batch_size
prepare p as select * from t
execute p
deallocate p
explain analyze select * from t
explain verbose select * from t
explain analyze verbose select * from t
explain format tree select * from t
explain (analyze) select * from t
explain copy t to '/tmp/x.csv'
explain insert into t values (1)
explain explain select * from t
select * into x from t
with x as (select * into y from t) select * from x
select * from t for update
select 1; select 2
select 1; drop table t
begin
commit
rollback
use other
analyze table t
show create table t
show functions
call p()
attach 'x' as y
load 'x'
grant select on t to public
vacuum
