select * from t
select * from t;
select a, count(*) from t group by a
with x as (select * from t) select * from x union all select * from t
values (1), (2)
explain select * from t where a = 1
show tables
show columns from t
describe t
select (select max(a) from t)
(select 1) union (select 2)
