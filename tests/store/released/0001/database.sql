BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0001');
CREATE TABLE assignments (
	id INTEGER NOT NULL, 
	batch_id INTEGER NOT NULL, 
	item_id INTEGER NOT NULL, 
	user_id INTEGER NOT NULL, 
	place INTEGER NOT NULL, 
	"order" JSON NOT NULL, 
	is_repeat BOOLEAN NOT NULL, 
	CONSTRAINT pk_assignments PRIMARY KEY (id), 
	CONSTRAINT uq_assignments_batch_id UNIQUE (batch_id, user_id, place), 
	CONSTRAINT uq_assignments_item_id UNIQUE (item_id, user_id, is_repeat), 
	CONSTRAINT fk_assignments_batch_id_vote_batches FOREIGN KEY(batch_id) REFERENCES vote_batches (id) ON DELETE CASCADE, 
	CONSTRAINT fk_assignments_item_id_vote_items FOREIGN KEY(item_id) REFERENCES vote_items (id) ON DELETE CASCADE, 
	CONSTRAINT fk_assignments_user_id_users FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE
);
INSERT INTO "assignments" VALUES(1,1,6,3,0,'[0, 1]',0);
INSERT INTO "assignments" VALUES(2,1,3,3,1,'[1, 0]',0);
INSERT INTO "assignments" VALUES(3,1,5,3,2,'[0, 1]',0);
INSERT INTO "assignments" VALUES(4,1,2,3,3,'[0, 1]',0);
INSERT INTO "assignments" VALUES(5,1,7,3,4,'[1, 0]',0);
INSERT INTO "assignments" VALUES(6,1,6,3,5,'[1, 0]',1);
INSERT INTO "assignments" VALUES(7,1,1,3,6,'[1, 0]',0);
INSERT INTO "assignments" VALUES(8,1,8,3,7,'[1, 0]',0);
INSERT INTO "assignments" VALUES(9,1,2,3,8,'[1, 0]',1);
INSERT INTO "assignments" VALUES(10,1,4,3,9,'[1, 0]',0);
INSERT INTO "assignments" VALUES(11,1,6,4,0,'[0, 1]',0);
INSERT INTO "assignments" VALUES(12,1,5,4,1,'[1, 0]',0);
INSERT INTO "assignments" VALUES(13,1,7,4,2,'[0, 1]',0);
INSERT INTO "assignments" VALUES(14,1,8,4,3,'[0, 1]',0);
INSERT INTO "assignments" VALUES(15,1,2,4,4,'[0, 1]',0);
INSERT INTO "assignments" VALUES(16,1,6,4,5,'[1, 0]',1);
INSERT INTO "assignments" VALUES(17,1,1,4,6,'[0, 1]',0);
INSERT INTO "assignments" VALUES(18,1,3,4,7,'[1, 0]',0);
INSERT INTO "assignments" VALUES(19,1,5,4,8,'[0, 1]',1);
INSERT INTO "assignments" VALUES(20,1,4,4,9,'[1, 0]',0);
INSERT INTO "assignments" VALUES(21,2,10,5,0,'[0, 1, 2, 3]',0);
INSERT INTO "assignments" VALUES(22,2,9,5,1,'[2, 3, 0, 1]',0);
CREATE TABLE audit (
	id INTEGER NOT NULL, 
	at DOUBLE NOT NULL, 
	user_id INTEGER, 
	user_name VARCHAR(64) NOT NULL, 
	action VARCHAR(64) NOT NULL, 
	subject VARCHAR(255) NOT NULL, 
	detail JSON, 
	CONSTRAINT pk_audit PRIMARY KEY (id), 
	CONSTRAINT fk_audit_user_id_users FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE SET NULL
);
INSERT INTO "audit" VALUES(1,1790000012.0,1,'anna','sign in','','null');
INSERT INTO "audit" VALUES(2,1790000015.0,2,'tom','upload','my prompts.csv','{"rows": 2}');
INSERT INTO "audit" VALUES(3,1790000100.0,NULL,'appliance','backup','backup-1.tar','null');
CREATE TABLE datasets (
	id VARCHAR(32) NOT NULL, 
	name VARCHAR(255) NOT NULL, 
	kind VARCHAR(16) NOT NULL, 
	file TEXT NOT NULL, 
	size_bytes INTEGER NOT NULL, 
	rows INTEGER NOT NULL, 
	"column" VARCHAR(255), 
	owner_id INTEGER, 
	created DOUBLE NOT NULL, 
	CONSTRAINT pk_datasets PRIMARY KEY (id), 
	CONSTRAINT fk_datasets_owner_id_users FOREIGN KEY(owner_id) REFERENCES users (id) ON DELETE SET NULL
);
INSERT INTO "datasets" VALUES('6af0cbc8730716123c3a16930de38950','my prompts.csv','prompts','uploads/6af0cbc8730716123c3a16930de38950/my_prompts.csv',51,2,'prompt',2,1790000013.0);
INSERT INTO "datasets" VALUES('d9961197118af6566bfecd730d813196','pairs.jsonl','preferences','uploads/d9961197118af6566bfecd730d813196/pairs.jsonl',53,1,NULL,NULL,1790000014.0);
CREATE TABLE events (
	run_id INTEGER NOT NULL, 
	number INTEGER NOT NULL, 
	step INTEGER NOT NULL, 
	at DOUBLE NOT NULL, 
	kind VARCHAR(16) NOT NULL, 
	what TEXT NOT NULL, 
	fix TEXT, 
	CONSTRAINT pk_events PRIMARY KEY (run_id, number), 
	CONSTRAINT fk_events_run_id_runs FOREIGN KEY(run_id) REFERENCES runs (id) ON DELETE CASCADE
);
INSERT INTO "events" VALUES(2,0,0,1790000024.0,'notice','cpu, fp32, engine eager; trainable: 544,385 of 544,385 (100.00 %): embeddings 147,456, attention 132,096, mlp 263,424, norms and others 1,280, critic 129; 992 prompts to train on, 8 held out, 15 for the report',NULL);
INSERT INTO "events" VALUES(3,0,0,1790000030.0,'notice','cpu, fp32, engine eager; trainable: 544,385 of 544,385 (100.00 %): embeddings 147,456, attention 132,096, mlp 263,424, norms and others 1,280, critic 129; 992 prompts to train on, 8 held out, 15 for the report',NULL);
INSERT INTO "events" VALUES(3,-1,2,1790000031.0,'worker','the worker was restarted',NULL);
INSERT INTO "events" VALUES(4,0,0,1790000037.0,'notice','cpu, fp32, engine eager; trainable: 544,385 of 544,385 (100.00 %): embeddings 147,456, attention 132,096, mlp 263,424, norms and others 1,280, critic 129; 992 prompts to train on, 8 held out, 15 for the report',NULL);
INSERT INTO "events" VALUES(4,-1,2,1790000038.0,'worker','the worker was restarted',NULL);
INSERT INTO "events" VALUES(5,0,0,1790000044.0,'notice','cpu, fp32, engine eager; trainable: 544,385 of 544,385 (100.00 %): embeddings 147,456, attention 132,096, mlp 263,424, norms and others 1,280, critic 129; 992 prompts to train on, 8 held out, 15 for the report',NULL);
INSERT INTO "events" VALUES(5,-1,2,1790000045.0,'worker','the worker was restarted',NULL);
INSERT INTO "events" VALUES(7,0,0,1790000054.0,'notice','cpu, fp32, engine eager; trainable: 544,385 of 544,385 (100.00 %): embeddings 147,456, attention 132,096, mlp 263,424, norms and others 1,280, critic 129; 992 prompts to train on, 8 held out, 15 for the report',NULL);
INSERT INTO "events" VALUES(7,-1,2,1790000055.0,'worker','the worker was restarted',NULL);
INSERT INTO "events" VALUES(8,0,0,1790000060.0,'notice','cpu, fp32, engine eager; trainable: 544,385 of 544,385 (100.00 %): embeddings 147,456, attention 132,096, mlp 263,424, norms and others 1,280, critic 129; 992 prompts to train on, 8 held out, 15 for the report',NULL);
INSERT INTO "events" VALUES(8,-1,2,1790000061.0,'worker','the worker was restarted',NULL);
CREATE TABLE invitations (
	token_hash VARCHAR(64) NOT NULL, 
	role VARCHAR(16) NOT NULL, 
	created DOUBLE NOT NULL, 
	expires DOUBLE NOT NULL, 
	used DOUBLE, 
	CONSTRAINT pk_invitations PRIMARY KEY (token_hash), 
	CONSTRAINT ck_invitations_role CHECK (role IN ('admin', 'trainer', 'rater'))
);
INSERT INTO "invitations" VALUES('25b510930597573e5218e5aefc6c5271b6f3b8b73176ca2dcb27ac4c123a66d0','rater',1790000008.0,1790604808.0,NULL);
CREATE TABLE logins (
	token_hash VARCHAR(64) NOT NULL, 
	user_id INTEGER NOT NULL, 
	created DOUBLE NOT NULL, 
	expires DOUBLE NOT NULL, 
	CONSTRAINT pk_logins PRIMARY KEY (token_hash), 
	CONSTRAINT fk_logins_user_id_users FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE
);
INSERT INTO "logins" VALUES('a7b88a9ddd0243a410940480b3d3e3a14f7e14af9f49792652e6133ef89c7621',1,1790000010.0,1790043210.0);
INSERT INTO "logins" VALUES('7dfe8a47b77b0246a268c56dfcb2c4fed710735929ea1dce64a64bc9162e4e14',2,1790000011.0,1821536011.0);
CREATE TABLE points (
	run_id INTEGER NOT NULL, 
	step INTEGER NOT NULL, 
	"values" JSON NOT NULL, 
	CONSTRAINT pk_points PRIMARY KEY (run_id, step), 
	CONSTRAINT fk_points_run_id_runs FOREIGN KEY(run_id) REFERENCES runs (id) ON DELETE CASCADE
);
INSERT INTO "points" VALUES(1,1,'{"step": 1, "texts": 5000}');
INSERT INTO "points" VALUES(1,2,'{"step": 2, "held_out_loss": 1.1018716096878052}');
INSERT INTO "points" VALUES(1,3,'{"step": 3, "held_out_accuracy": 0.8410041841004184}');
INSERT INTO "points" VALUES(2,0,'{"step": 0, "eval_score_mean": -0.050203122198581696, "eval_opinion_mean": 0.0, "eval_kl": 0.0, "eval_length_mean": 19.5, "eval_ended_share": 0.125, "eval_distinct_2": 0.8536585365853658}');
INSERT INTO "points" VALUES(2,1,'{"step": 1, "sequences": 32, "score_mean": 0.020453620702028275, "score_std": 0.8703189492225647, "score_shaped_mean": 0.020453620702028275, "saturated_share": 0.0, "objective": 0.020453620702028275, "kl": 0.0, "kl_k3": 0.0, "kl_coef": 0.1, "entropy": 1.3646807670593262, "length_mean": 19.375, "ended_share": 0.25, "distinct_1": 0.38333333333333336, "distinct_2": 0.7165178571428571, "score_length_correlation": 0.000681827928554747, "engine_gap": 3.2010569839258096e-07, "reward_mean": 0.020453620702028275, "return_mean": 0.014167016372084618, "return_std": 0.5728247165679932, "value_mean": 0.0, "explained_variance": 0.0, "policy_loss": -0.04244238849609129, "value_loss": 0.16386022413930584, "kl_loss": 0.0, "entropy_bonus": 0.0, "approx_kl": 0.04070764866567427, "clip_share": 0.17459677419354838, "value_clip_share": 0.0, "ratio_mean": 1.0388542298347718, "ratio_max": 8.41598129272461, "grad_norm": 1.544306755065918, "learning_rate": 0.0001171875, "optimizer_steps": 8, "skipped_steps": 0, "stopped_early": 0, "microbatch": 16}');
INSERT INTO "points" VALUES(2,2,'{"step": 2, "sequences": 64, "score_mean": 0.213840052485466, "score_std": 0.7965896725654602, "score_shaped_mean": 0.213840052485466, "saturated_share": 0.0, "objective": 0.15191114842891693, "kl": 0.6192890405654907, "kl_k3": 0.5938774347305298, "kl_coef": 0.1, "entropy": 1.3043992519378662, "length_mean": 19.03125, "ended_share": 0.28125, "distinct_1": 0.37551020408163266, "distinct_2": 0.7030567685589519, "score_length_correlation": -0.1431932027433623, "engine_gap": 3.2635247748658003e-07, "reward_mean": 0.1519111543893814, "return_mean": 0.11212476342916489, "return_std": 0.5355626940727234, "value_mean": 0.011331358924508095, "explained_variance": -0.0009750127792358398, "policy_loss": -0.02774257774423496, "value_loss": 0.14803857912962465, "kl_loss": 0.0, "entropy_bonus": 0.0, "approx_kl": 0.012533733147167415, "clip_share": 0.08292282430213464, "value_clip_share": 0.0, "ratio_mean": 1.0058768136160714, "ratio_max": 4.352725982666016, "grad_norm": 1.848333477973938, "learning_rate": 7.968749999999999e-05, "optimizer_steps": 8, "skipped_steps": 0, "stopped_early": 0, "microbatch": 16, "eval_score_mean": -0.024550270289182663, "eval_opinion_mean": 0.25, "eval_kl": 0.30925002694129944, "eval_length_mean": 18.125, "eval_ended_share": 0.25, "eval_distinct_2": 0.8867924528301887}');
INSERT INTO "points" VALUES(2,3,'{"step": 3, "sequences": 96, "score_mean": -0.19144374132156372, "score_std": 0.7888095378875732, "score_shaped_mean": -0.19144374132156372, "saturated_share": 0.0, "objective": -0.2893284797668457, "kl": 0.9788473844528198, "kl_k3": 0.9477957487106323, "kl_coef": 0.1, "entropy": 1.4033957719802856, "length_mean": 19.25, "ended_share": 0.25, "distinct_1": 0.3786008230452675, "distinct_2": 0.6828193832599119, "score_length_correlation": -0.2623379723642842, "engine_gap": 3.526764373873448e-07, "reward_mean": -0.28932851552963257, "return_mean": -0.17472733557224274, "return_std": 0.5088947415351868, "value_mean": 0.020573854446411133, "explained_variance": 0.002395927906036377, "policy_loss": -0.016636190669877187, "value_loss": 0.1480857025493275, "kl_loss": 0.0, "entropy_bonus": 0.0, "approx_kl": 0.005760830411288355, "clip_share": 0.03409090909090909, "value_clip_share": 0.0, "ratio_mean": 0.9948285957435509, "ratio_max": 1.9811491966247559, "grad_norm": 1.8098260164260864, "learning_rate": 4.2187499999999995e-05, "optimizer_steps": 8, "skipped_steps": 0, "stopped_early": 0, "microbatch": 16}');
INSERT INTO "points" VALUES(2,4,'{"step": 4, "sequences": 128, "score_mean": 0.06133041903376579, "score_std": 0.8784759640693665, "score_shaped_mean": 0.06133041903376579, "saturated_share": 0.0, "objective": -0.006545204669237137, "kl": 0.6787562370300293, "kl_k3": 1.2805163860321045, "kl_coef": 0.1, "entropy": 1.464866042137146, "length_mean": 17.5, "ended_share": 0.5, "distinct_1": 0.3707093821510298, "distinct_2": 0.6987654320987654, "score_length_correlation": -0.009415420045603029, "engine_gap": 3.7531302155002777e-07, "reward_mean": -0.006545198615640402, "return_mean": 0.015967654064297676, "return_std": 0.5885851383209229, "value_mean": 0.01900976151227951, "explained_variance": -0.003365159034729004, "policy_loss": -0.008900960428374155, "value_loss": 0.17345105750220163, "kl_loss": 0.0, "entropy_bonus": 0.0, "approx_kl": 0.0010159641982422076, "clip_share": 0.010267857142857143, "value_clip_share": 0.0, "ratio_mean": 1.0001858030046735, "ratio_max": 1.4725120067596436, "grad_norm": 2.2619926929473877, "learning_rate": 4.6875e-06, "optimizer_steps": 8, "skipped_steps": 0, "stopped_early": 0, "microbatch": 16, "eval_score_mean": 0.1194421797990799, "eval_opinion_mean": 0.75, "eval_kl": 1.511000394821167, "eval_length_mean": 18.125, "eval_ended_share": 0.25, "eval_distinct_2": 0.8839285714285714}');
INSERT INTO "points" VALUES(3,0,'{"step": 0, "eval_score_mean": -0.050203122198581696, "eval_opinion_mean": 0.0, "eval_kl": 0.0, "eval_length_mean": 19.5, "eval_ended_share": 0.125, "eval_distinct_2": 0.8536585365853658}');
INSERT INTO "points" VALUES(3,1,'{"step": 1, "sequences": 32, "score_mean": 0.020453620702028275, "score_std": 0.8703189492225647, "score_shaped_mean": 0.020453620702028275, "saturated_share": 0.0, "objective": 0.020453620702028275, "kl": 0.0, "kl_k3": 0.0, "kl_coef": 0.1, "entropy": 1.3646807670593262, "length_mean": 19.375, "ended_share": 0.25, "distinct_1": 0.38333333333333336, "distinct_2": 0.7165178571428571, "score_length_correlation": 0.000681827928554747, "engine_gap": 3.2010569839258096e-07, "reward_mean": 0.020453620702028275, "return_mean": 0.014167016372084618, "return_std": 0.5728247165679932, "value_mean": 0.0, "explained_variance": 0.0, "policy_loss": -0.04244238849609129, "value_loss": 0.16386022413930584, "kl_loss": 0.0, "entropy_bonus": 0.0, "approx_kl": 0.04070764866567427, "clip_share": 0.17459677419354838, "value_clip_share": 0.0, "ratio_mean": 1.0388542298347718, "ratio_max": 8.41598129272461, "grad_norm": 1.544306755065918, "learning_rate": 0.0001171875, "optimizer_steps": 8, "skipped_steps": 0, "stopped_early": 0, "microbatch": 16}');
INSERT INTO "points" VALUES(3,2,'{"step": 2, "sequences": 64, "score_mean": 0.213840052485466, "score_std": 0.7965896725654602, "score_shaped_mean": 0.213840052485466, "saturated_share": 0.0, "objective": 0.15191114842891693, "kl": 0.6192890405654907, "kl_k3": 0.5938774347305298, "kl_coef": 0.1, "entropy": 1.3043992519378662, "length_mean": 19.03125, "ended_share": 0.28125, "distinct_1": 0.37551020408163266, "distinct_2": 0.7030567685589519, "score_length_correlation": -0.1431932027433623, "engine_gap": 3.2635247748658003e-07, "reward_mean": 0.1519111543893814, "return_mean": 0.11212476342916489, "return_std": 0.5355626940727234, "value_mean": 0.011331358924508095, "explained_variance": -0.0009750127792358398, "policy_loss": -0.02774257774423496, "value_loss": 0.14803857912962465, "kl_loss": 0.0, "entropy_bonus": 0.0, "approx_kl": 0.012533733147167415, "clip_share": 0.08292282430213464, "value_clip_share": 0.0, "ratio_mean": 1.0058768136160714, "ratio_max": 4.352725982666016, "grad_norm": 1.848333477973938, "learning_rate": 7.968749999999999e-05, "optimizer_steps": 8, "skipped_steps": 0, "stopped_early": 0, "microbatch": 16, "eval_score_mean": -0.024550270289182663, "eval_opinion_mean": 0.25, "eval_kl": 0.30925002694129944, "eval_length_mean": 18.125, "eval_ended_share": 0.25, "eval_distinct_2": 0.8867924528301887}');
INSERT INTO "points" VALUES(4,0,'{"step": 0, "eval_score_mean": -0.050203122198581696, "eval_opinion_mean": 0.0, "eval_kl": 0.0, "eval_length_mean": 19.5, "eval_ended_share": 0.125, "eval_distinct_2": 0.8536585365853658}');
INSERT INTO "points" VALUES(4,1,'{"step": 1, "sequences": 32, "score_mean": 0.020453620702028275, "score_std": 0.8703189492225647, "score_shaped_mean": 0.020453620702028275, "saturated_share": 0.0, "objective": 0.020453620702028275, "kl": 0.0, "kl_k3": 0.0, "kl_coef": 0.1, "entropy": 1.3646807670593262, "length_mean": 19.375, "ended_share": 0.25, "distinct_1": 0.38333333333333336, "distinct_2": 0.7165178571428571, "score_length_correlation": 0.000681827928554747, "engine_gap": 3.2010569839258096e-07, "reward_mean": 0.020453620702028275, "return_mean": 0.014167016372084618, "return_std": 0.5728247165679932, "value_mean": 0.0, "explained_variance": 0.0, "policy_loss": -0.04244238849609129, "value_loss": 0.16386022413930584, "kl_loss": 0.0, "entropy_bonus": 0.0, "approx_kl": 0.04070764866567427, "clip_share": 0.17459677419354838, "value_clip_share": 0.0, "ratio_mean": 1.0388542298347718, "ratio_max": 8.41598129272461, "grad_norm": 1.544306755065918, "learning_rate": 0.0001171875, "optimizer_steps": 8, "skipped_steps": 0, "stopped_early": 0, "microbatch": 16}');
INSERT INTO "points" VALUES(4,2,'{"step": 2, "sequences": 64, "score_mean": 0.213840052485466, "score_std": 0.7965896725654602, "score_shaped_mean": 0.213840052485466, "saturated_share": 0.0, "objective": 0.15191114842891693, "kl": 0.6192890405654907, "kl_k3": 0.5938774347305298, "kl_coef": 0.1, "entropy": 1.3043992519378662, "length_mean": 19.03125, "ended_share": 0.28125, "distinct_1": 0.37551020408163266, "distinct_2": 0.7030567685589519, "score_length_correlation": -0.1431932027433623, "engine_gap": 3.2635247748658003e-07, "reward_mean": 0.1519111543893814, "return_mean": 0.11212476342916489, "return_std": 0.5355626940727234, "value_mean": 0.011331358924508095, "explained_variance": -0.0009750127792358398, "policy_loss": -0.02774257774423496, "value_loss": 0.14803857912962465, "kl_loss": 0.0, "entropy_bonus": 0.0, "approx_kl": 0.012533733147167415, "clip_share": 0.08292282430213464, "value_clip_share": 0.0, "ratio_mean": 1.0058768136160714, "ratio_max": 4.352725982666016, "grad_norm": 1.848333477973938, "learning_rate": 7.968749999999999e-05, "optimizer_steps": 8, "skipped_steps": 0, "stopped_early": 0, "microbatch": 16, "eval_score_mean": -0.024550270289182663, "eval_opinion_mean": 0.25, "eval_kl": 0.30925002694129944, "eval_length_mean": 18.125, "eval_ended_share": 0.25, "eval_distinct_2": 0.8867924528301887}');
INSERT INTO "points" VALUES(5,0,'{"step": 0, "eval_score_mean": -0.050203122198581696, "eval_opinion_mean": 0.0, "eval_kl": 0.0, "eval_length_mean": 19.5, "eval_ended_share": 0.125, "eval_distinct_2": 0.8536585365853658}');
INSERT INTO "points" VALUES(5,1,'{"step": 1, "sequences": 32, "score_mean": 0.020453620702028275, "score_std": 0.8703189492225647, "score_shaped_mean": 0.020453620702028275, "saturated_share": 0.0, "objective": 0.020453620702028275, "kl": 0.0, "kl_k3": 0.0, "kl_coef": 0.1, "entropy": 1.3646807670593262, "length_mean": 19.375, "ended_share": 0.25, "distinct_1": 0.38333333333333336, "distinct_2": 0.7165178571428571, "score_length_correlation": 0.000681827928554747, "engine_gap": 3.2010569839258096e-07, "reward_mean": 0.020453620702028275, "return_mean": 0.014167016372084618, "return_std": 0.5728247165679932, "value_mean": 0.0, "explained_variance": 0.0, "policy_loss": -0.04244238849609129, "value_loss": 0.16386022413930584, "kl_loss": 0.0, "entropy_bonus": 0.0, "approx_kl": 0.04070764866567427, "clip_share": 0.17459677419354838, "value_clip_share": 0.0, "ratio_mean": 1.0388542298347718, "ratio_max": 8.41598129272461, "grad_norm": 1.544306755065918, "learning_rate": 0.0001171875, "optimizer_steps": 8, "skipped_steps": 0, "stopped_early": 0, "microbatch": 16}');
INSERT INTO "points" VALUES(5,2,'{"step": 2, "sequences": 64, "score_mean": 0.213840052485466, "score_std": 0.7965896725654602, "score_shaped_mean": 0.213840052485466, "saturated_share": 0.0, "objective": 0.15191114842891693, "kl": 0.6192890405654907, "kl_k3": 0.5938774347305298, "kl_coef": 0.1, "entropy": 1.3043992519378662, "length_mean": 19.03125, "ended_share": 0.28125, "distinct_1": 0.37551020408163266, "distinct_2": 0.7030567685589519, "score_length_correlation": -0.1431932027433623, "engine_gap": 3.2635247748658003e-07, "reward_mean": 0.1519111543893814, "return_mean": 0.11212476342916489, "return_std": 0.5355626940727234, "value_mean": 0.011331358924508095, "explained_variance": -0.0009750127792358398, "policy_loss": -0.02774257774423496, "value_loss": 0.14803857912962465, "kl_loss": 0.0, "entropy_bonus": 0.0, "approx_kl": 0.012533733147167415, "clip_share": 0.08292282430213464, "value_clip_share": 0.0, "ratio_mean": 1.0058768136160714, "ratio_max": 4.352725982666016, "grad_norm": 1.848333477973938, "learning_rate": 7.968749999999999e-05, "optimizer_steps": 8, "skipped_steps": 0, "stopped_early": 0, "microbatch": 16, "eval_score_mean": -0.024550270289182663, "eval_opinion_mean": 0.25, "eval_kl": 0.30925002694129944, "eval_length_mean": 18.125, "eval_ended_share": 0.25, "eval_distinct_2": 0.8867924528301887}');
INSERT INTO "points" VALUES(7,0,'{"step": 0, "eval_score_mean": -0.050203122198581696, "eval_opinion_mean": 0.0, "eval_kl": 0.0, "eval_length_mean": 19.5, "eval_ended_share": 0.125, "eval_distinct_2": 0.8536585365853658}');
INSERT INTO "points" VALUES(7,1,'{"step": 1, "sequences": 32, "score_mean": 0.020453620702028275, "score_std": 0.8703189492225647, "score_shaped_mean": 0.020453620702028275, "saturated_share": 0.0, "objective": 0.020453620702028275, "kl": 0.0, "kl_k3": 0.0, "kl_coef": 0.1, "entropy": 1.3646807670593262, "length_mean": 19.375, "ended_share": 0.25, "distinct_1": 0.38333333333333336, "distinct_2": 0.7165178571428571, "score_length_correlation": 0.000681827928554747, "engine_gap": 3.2010569839258096e-07, "reward_mean": 0.020453620702028275, "return_mean": 0.014167016372084618, "return_std": 0.5728247165679932, "value_mean": 0.0, "explained_variance": 0.0, "policy_loss": -0.04244238849609129, "value_loss": 0.16386022413930584, "kl_loss": 0.0, "entropy_bonus": 0.0, "approx_kl": 0.04070764866567427, "clip_share": 0.17459677419354838, "value_clip_share": 0.0, "ratio_mean": 1.0388542298347718, "ratio_max": 8.41598129272461, "grad_norm": 1.544306755065918, "learning_rate": 0.0001171875, "optimizer_steps": 8, "skipped_steps": 0, "stopped_early": 0, "microbatch": 16}');
INSERT INTO "points" VALUES(7,2,'{"step": 2, "sequences": 64, "score_mean": 0.213840052485466, "score_std": 0.7965896725654602, "score_shaped_mean": 0.213840052485466, "saturated_share": 0.0, "objective": 0.15191114842891693, "kl": 0.6192890405654907, "kl_k3": 0.5938774347305298, "kl_coef": 0.1, "entropy": 1.3043992519378662, "length_mean": 19.03125, "ended_share": 0.28125, "distinct_1": 0.37551020408163266, "distinct_2": 0.7030567685589519, "score_length_correlation": -0.1431932027433623, "engine_gap": 3.2635247748658003e-07, "reward_mean": 0.1519111543893814, "return_mean": 0.11212476342916489, "return_std": 0.5355626940727234, "value_mean": 0.011331358924508095, "explained_variance": -0.0009750127792358398, "policy_loss": -0.02774257774423496, "value_loss": 0.14803857912962465, "kl_loss": 0.0, "entropy_bonus": 0.0, "approx_kl": 0.012533733147167415, "clip_share": 0.08292282430213464, "value_clip_share": 0.0, "ratio_mean": 1.0058768136160714, "ratio_max": 4.352725982666016, "grad_norm": 1.848333477973938, "learning_rate": 7.968749999999999e-05, "optimizer_steps": 8, "skipped_steps": 0, "stopped_early": 0, "microbatch": 16, "eval_score_mean": -0.024550270289182663, "eval_opinion_mean": 0.25, "eval_kl": 0.30925002694129944, "eval_length_mean": 18.125, "eval_ended_share": 0.25, "eval_distinct_2": 0.8867924528301887}');
INSERT INTO "points" VALUES(8,0,'{"step": 0, "eval_score_mean": -0.050203122198581696, "eval_opinion_mean": 0.0, "eval_kl": 0.0, "eval_length_mean": 19.5, "eval_ended_share": 0.125, "eval_distinct_2": 0.8536585365853658}');
INSERT INTO "points" VALUES(8,1,'{"step": 1, "sequences": 32, "score_mean": 0.020453620702028275, "score_std": 0.8703189492225647, "score_shaped_mean": 0.020453620702028275, "saturated_share": 0.0, "objective": 0.020453620702028275, "kl": 0.0, "kl_k3": 0.0, "kl_coef": 0.1, "entropy": 1.3646807670593262, "length_mean": 19.375, "ended_share": 0.25, "distinct_1": 0.38333333333333336, "distinct_2": 0.7165178571428571, "score_length_correlation": 0.000681827928554747, "engine_gap": 3.2010569839258096e-07, "reward_mean": 0.020453620702028275, "return_mean": 0.014167016372084618, "return_std": 0.5728247165679932, "value_mean": 0.0, "explained_variance": 0.0, "policy_loss": -0.04244238849609129, "value_loss": 0.16386022413930584, "kl_loss": 0.0, "entropy_bonus": 0.0, "approx_kl": 0.04070764866567427, "clip_share": 0.17459677419354838, "value_clip_share": 0.0, "ratio_mean": 1.0388542298347718, "ratio_max": 8.41598129272461, "grad_norm": 1.544306755065918, "learning_rate": 0.0001171875, "optimizer_steps": 8, "skipped_steps": 0, "stopped_early": 0, "microbatch": 16}');
INSERT INTO "points" VALUES(8,2,'{"step": 2, "sequences": 64, "score_mean": 0.213840052485466, "score_std": 0.7965896725654602, "score_shaped_mean": 0.213840052485466, "saturated_share": 0.0, "objective": 0.15191114842891693, "kl": 0.6192890405654907, "kl_k3": 0.5938774347305298, "kl_coef": 0.1, "entropy": 1.3043992519378662, "length_mean": 19.03125, "ended_share": 0.28125, "distinct_1": 0.37551020408163266, "distinct_2": 0.7030567685589519, "score_length_correlation": -0.1431932027433623, "engine_gap": 3.2635247748658003e-07, "reward_mean": 0.1519111543893814, "return_mean": 0.11212476342916489, "return_std": 0.5355626940727234, "value_mean": 0.011331358924508095, "explained_variance": -0.0009750127792358398, "policy_loss": -0.02774257774423496, "value_loss": 0.14803857912962465, "kl_loss": 0.0, "entropy_bonus": 0.0, "approx_kl": 0.012533733147167415, "clip_share": 0.08292282430213464, "value_clip_share": 0.0, "ratio_mean": 1.0058768136160714, "ratio_max": 4.352725982666016, "grad_norm": 1.848333477973938, "learning_rate": 7.968749999999999e-05, "optimizer_steps": 8, "skipped_steps": 0, "stopped_early": 0, "microbatch": 16, "eval_score_mean": -0.024550270289182663, "eval_opinion_mean": 0.25, "eval_kl": 0.30925002694129944, "eval_length_mean": 18.125, "eval_ended_share": 0.25, "eval_distinct_2": 0.8867924528301887}');
CREATE TABLE questions (
	id VARCHAR(32) NOT NULL, 
	run_id INTEGER NOT NULL, 
	owner_id INTEGER, 
	prompt TEXT NOT NULL, 
	created DOUBLE NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	answer JSON, 
	message TEXT, 
	worker_id VARCHAR(64), 
	CONSTRAINT pk_questions PRIMARY KEY (id), 
	CONSTRAINT fk_questions_run_id_runs FOREIGN KEY(run_id) REFERENCES runs (id) ON DELETE CASCADE, 
	CONSTRAINT fk_questions_owner_id_users FOREIGN KEY(owner_id) REFERENCES users (id) ON DELETE SET NULL
);
INSERT INTO "questions" VALUES('ecce5d6acdeac6a0d54b1b46dc11fabe',2,2,'The ending was',1790000069.0,'done','{"before": {"text": " bad", "seconds": 0.1}, "after": {"text": " good"}}',NULL,'cpu');
INSERT INTO "questions" VALUES('b8f249cc35c7f048ef5ff895a54e38e9',2,2,'And the music',1790000070.0,'queued',NULL,NULL,NULL);
CREATE TABLE rater_exclusions (
	batch_id INTEGER NOT NULL, 
	user_id INTEGER NOT NULL, 
	created DOUBLE NOT NULL, 
	CONSTRAINT pk_rater_exclusions PRIMARY KEY (batch_id, user_id), 
	CONSTRAINT fk_rater_exclusions_batch_id_vote_batches FOREIGN KEY(batch_id) REFERENCES vote_batches (id) ON DELETE CASCADE, 
	CONSTRAINT fk_rater_exclusions_user_id_users FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE
);
INSERT INTO "rater_exclusions" VALUES(1,4,1790000096.0);
CREATE TABLE runs (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	name VARCHAR(64) NOT NULL, 
	stage VARCHAR(16) NOT NULL, 
	folder TEXT NOT NULL, 
	config TEXT NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	owner_id INTEGER, 
	"key" VARCHAR(64), 
	created DOUBLE NOT NULL, 
	queued DOUBLE, 
	started DOUBLE, 
	ended DOUBLE, 
	step INTEGER NOT NULL, 
	steps INTEGER NOT NULL, 
	last_step_at DOUBLE, 
	phase VARCHAR(64), 
	message TEXT, 
	fix TEXT, 
	cause VARCHAR(32), 
	attempts INTEGER NOT NULL, 
	checkpoint VARCHAR(64), 
	resume_by_itself BOOLEAN NOT NULL, 
	stop_asked DOUBLE, 
	parent_id INTEGER, 
	dataset_id VARCHAR(32), 
	note TEXT NOT NULL, 
	starred BOOLEAN NOT NULL, 
	result JSON, 
	worker_id VARCHAR(64), 
	pid INTEGER, 
	pid_started DOUBLE, 
	boot_id VARCHAR(64), 
	token VARCHAR(64), 
	heartbeat DOUBLE, 
	CONSTRAINT uq_runs_folder UNIQUE (folder), 
	CONSTRAINT uq_runs_key UNIQUE ("key"), 
	CONSTRAINT ck_runs_state CHECK (state IN ('queued', 'starting', 'running', 'stopping', 'stopped', 'done', 'failed', 'interrupted')), 
	CONSTRAINT fk_runs_owner_id_users FOREIGN KEY(owner_id) REFERENCES users (id) ON DELETE SET NULL, 
	CONSTRAINT fk_runs_parent_id_runs FOREIGN KEY(parent_id) REFERENCES runs (id) ON DELETE SET NULL, 
	CONSTRAINT fk_runs_dataset_id_datasets FOREIGN KEY(dataset_id) REFERENCES datasets (id) ON DELETE SET NULL
);
INSERT INTO "runs" VALUES(1,'example','example','@DATA@/example','stage: example
','done',2,'key-example',1790000016.0,1790000016.0,1790000018.0,1790000021.0,4,4,NULL,NULL,NULL,NULL,NULL,1,NULL,1,NULL,NULL,NULL,'',0,'{"seconds": {"data": 6.0552003560587764e-05, "sft": 147.13, "reward": 75.06}}','cpu',NULL,NULL,NULL,'f33cc8c30a8739fde5df0d864d8a22b7',1790000020.0);
INSERT INTO "runs" VALUES(2,'better','ppo','@DATA@/better','name: better
seed: 1
device: auto
compute: auto
trackers: []
stage: ppo
policy:
  model: @DATA@/example/sft/model
  revision: null
  train: full
  lora:
    rank: 8
    alpha: 16.0
    targets: null
    dropout: 0.0
    last_layers: null
  top_layers: 2
  adapter: null
  quantize: none
critic:
  kind: value_head
  model: null
  learning_rate: null
reward:
  source: trained
  model: @DATA@/example/reward
  revision: null
  include_prompt: true
  max_length_tokens: null
  microbatch: 64
prompts:
  source: @DATA@/example/data/prompts.txt
  revision: null
  split: train
  limit: null
  column: null
  template: null
  min_characters: 0
  max_characters: null
  first_words: null
  keep_tokens: null
  length_tokens: null
sampling:
  response_tokens:
    low: 16
    high: 24
  temperature: 1.0
  top_k: 0
  top_p: 1.0
  stop_at_eos: true
  engine: auto
batch:
  steps: 4
  rollout: 32
  minibatch: 16
  microbatch: 16
ppo:
  epochs: 4
  clip: 0.2
  dual_clip: null
  value_clip: 0.2
  value_coef: 0.1
  entropy_coef: 0.0
  gamma: 1.0
  lam: 0.95
  whiten_advantages: true
  max_ratio: 10.0
  stop_kl: null
kl:
  placement: reward
  estimator: k1
  coef: 0.1
  adaptive: false
  target_nats_per_sequence: 6.0
  horizon_sequences: 10000
scores:
  scale: none
  center: false
  clip: null
  whiten_rewards: false
  missing_eos: ''off''
  missing_eos_penalty: 1.0
optimizer:
  learning_rate: 0.00015
  betas:
  - 0.9
  - 0.95
  eps: 1.0e-05
  weight_decay: 0.0
  schedule: linear
  warmup_share: 0.0
  final_share: 0.0
  max_grad_norm: 1.0
evaluation:
  every_steps: 2
  prompts: 8
  prompts_file: null
  samples: 1
  report_prompts: 15
  report_samples: 2
  report_file: @DATA@/example/data/report-prompts.txt
  second_opinion:
    source: keyword
    positive:
    - admired
    - adored
    - amazed
    - beautiful
    - bold
    - brilliance
    - brilliant
    - charm
    - charming
    - cheerful
    - clever
    - convinces
    - dazzles
    - delight
    - delighted
    - delightful
    - delights
    - elegance
    - elegant
    - enchanted
    - enjoyed
    - excellent
    - fresh
    - funny
    - gem
    - glows
    - grace
    - graceful
    - grateful
    - great
    - gripping
    - happy
    - inspired
    - joy
    - liked
    - lively
    - loved
    - lovely
    - marvel
    - masterful
    - masterpiece
    - memorable
    - moving
    - passion
    - perfect
    - pleasure
    - praised
    - rich
    - savoured
    - shines
    - soars
    - sparkles
    - splendid
    - subtle
    - succeeds
    - success
    - superb
    - tender
    - tenderness
    - thrilled
    - thrilling
    - touching
    - treasured
    - treat
    - triumph
    - warm
    - warmth
    - wit
    - witty
    - wonder
    - wonderful
    negative:
    - angry
    - annoyed
    - annoys
    - arrogance
    - awful
    - bad
    - bland
    - bore
    - bored
    - boredom
    - bores
    - boring
    - careless
    - carelessness
    - chore
    - clumsiness
    - clumsy
    - collapses
    - confused
    - crude
    - despised
    - disappointed
    - disappointment
    - disappoints
    - disaster
    - disliked
    - drags
    - dreadful
    - dreary
    - dull
    - endured
    - fails
    - failure
    - flat
    - flop
    - forgettable
    - hated
    - hollow
    - horrible
    - indifference
    - laziness
    - lazy
    - lifeless
    - loathed
    - mess
    - messy
    - mistake
    - nonsense
    - nuisance
    - painful
    - pointless
    - poor
    - predictable
    - regretted
    - resented
    - sad
    - shallow
    - silly
    - sinks
    - stale
    - stumbles
    - suffered
    - tedious
    - terrible
    - tired
    - tiresome
    - ugly
    - vanity
    - waste
    - weak
    - weary
    - wooden
    divide_by_words: false
checkpoint:
  every_steps: 2
  keep: 2
  result: last
alarms:
  kl_nats_per_sequence: 20.0
  entropy_share: 0.3
  distinct_2_share: 0.5
  length_correlation: 0.5
  ended_share: 0.0
  saturated_share: 0.5
','done',2,'key-better',1790000017.0,1790000017.0,1790000022.0,1790000026.0,4,4,NULL,NULL,NULL,NULL,NULL,1,NULL,1,NULL,1,'6af0cbc8730716123c3a16930de38950','Die beste bisher: größere Schritte',1,'{"prompts": 15, "improved": 11, "worse": 4, "tied": 0, "p_value": 0.041259765625, "mean_reward": {"before": -0.022079881032307944, "after": 0.3262578150412689}, "difference": 0.348337696074, "difference_ci95": [0.10730726211153913, 0.6954284317139332], "kl": 1.8476477930943171, "kl_ci95": [1.1326509497421968, 2.6227392826888685], "length_tokens": {"before": 18.933333333333334, "after": 18.933333333333334}, "steps": 4, "verdict": {"word": "no effect", "sentence": "no effect: 11 of 15 prompts improved and 4 got worse, mean reward +0.35 [0.11, 0.70] (p = 0.041), which chance explains well enough, KL 1.85 nats", "warnings": []}, "second_opinion": {"before": -0.2, "after": 0.6333333333333333, "std": {"before": 1.5577761927397231, "after": 1.2242911781471306}, "difference": 0.833333333333, "difference_ci95": [0.233333333333, 1.533333333333], "p_value": 0.03369140625, "improved": 9, "agrees": true}, "seconds": 20.90309154499846}','cpu',NULL,NULL,NULL,'0d652bfb21b70d5b32013d29557b7c61',1790000025.0);
INSERT INTO "runs" VALUES(3,'stopped','ppo','@DATA@/stopped','name: better
seed: 1
device: auto
compute: auto
trackers: []
stage: ppo
policy:
  model: @DATA@/example/sft/model
  revision: null
  train: full
  lora:
    rank: 8
    alpha: 16.0
    targets: null
    dropout: 0.0
    last_layers: null
  top_layers: 2
  adapter: null
  quantize: none
critic:
  kind: value_head
  model: null
  learning_rate: null
reward:
  source: trained
  model: @DATA@/example/reward
  revision: null
  include_prompt: true
  max_length_tokens: null
  microbatch: 64
prompts:
  source: @DATA@/example/data/prompts.txt
  revision: null
  split: train
  limit: null
  column: null
  template: null
  min_characters: 0
  max_characters: null
  first_words: null
  keep_tokens: null
  length_tokens: null
sampling:
  response_tokens:
    low: 16
    high: 24
  temperature: 1.0
  top_k: 0
  top_p: 1.0
  stop_at_eos: true
  engine: auto
batch:
  steps: 4
  rollout: 32
  minibatch: 16
  microbatch: 16
ppo:
  epochs: 4
  clip: 0.2
  dual_clip: null
  value_clip: 0.2
  value_coef: 0.1
  entropy_coef: 0.0
  gamma: 1.0
  lam: 0.95
  whiten_advantages: true
  max_ratio: 10.0
  stop_kl: null
kl:
  placement: reward
  estimator: k1
  coef: 0.1
  adaptive: false
  target_nats_per_sequence: 6.0
  horizon_sequences: 10000
scores:
  scale: none
  center: false
  clip: null
  whiten_rewards: false
  missing_eos: ''off''
  missing_eos_penalty: 1.0
optimizer:
  learning_rate: 0.00015
  betas:
  - 0.9
  - 0.95
  eps: 1.0e-05
  weight_decay: 0.0
  schedule: linear
  warmup_share: 0.0
  final_share: 0.0
  max_grad_norm: 1.0
evaluation:
  every_steps: 2
  prompts: 8
  prompts_file: null
  samples: 1
  report_prompts: 15
  report_samples: 2
  report_file: @DATA@/example/data/report-prompts.txt
  second_opinion:
    source: keyword
    positive:
    - admired
    - adored
    - amazed
    - beautiful
    - bold
    - brilliance
    - brilliant
    - charm
    - charming
    - cheerful
    - clever
    - convinces
    - dazzles
    - delight
    - delighted
    - delightful
    - delights
    - elegance
    - elegant
    - enchanted
    - enjoyed
    - excellent
    - fresh
    - funny
    - gem
    - glows
    - grace
    - graceful
    - grateful
    - great
    - gripping
    - happy
    - inspired
    - joy
    - liked
    - lively
    - loved
    - lovely
    - marvel
    - masterful
    - masterpiece
    - memorable
    - moving
    - passion
    - perfect
    - pleasure
    - praised
    - rich
    - savoured
    - shines
    - soars
    - sparkles
    - splendid
    - subtle
    - succeeds
    - success
    - superb
    - tender
    - tenderness
    - thrilled
    - thrilling
    - touching
    - treasured
    - treat
    - triumph
    - warm
    - warmth
    - wit
    - witty
    - wonder
    - wonderful
    negative:
    - angry
    - annoyed
    - annoys
    - arrogance
    - awful
    - bad
    - bland
    - bore
    - bored
    - boredom
    - bores
    - boring
    - careless
    - carelessness
    - chore
    - clumsiness
    - clumsy
    - collapses
    - confused
    - crude
    - despised
    - disappointed
    - disappointment
    - disappoints
    - disaster
    - disliked
    - drags
    - dreadful
    - dreary
    - dull
    - endured
    - fails
    - failure
    - flat
    - flop
    - forgettable
    - hated
    - hollow
    - horrible
    - indifference
    - laziness
    - lazy
    - lifeless
    - loathed
    - mess
    - messy
    - mistake
    - nonsense
    - nuisance
    - painful
    - pointless
    - poor
    - predictable
    - regretted
    - resented
    - sad
    - shallow
    - silly
    - sinks
    - stale
    - stumbles
    - suffered
    - tedious
    - terrible
    - tired
    - tiresome
    - ugly
    - vanity
    - waste
    - weak
    - weary
    - wooden
    divide_by_words: false
checkpoint:
  every_steps: 2
  keep: 2
  result: last
alarms:
  kl_nats_per_sequence: 20.0
  entropy_share: 0.3
  distinct_2_share: 0.5
  length_correlation: 0.5
  ended_share: 0.0
  saturated_share: 0.5
','stopped',2,'key-stopped',1790000027.0,1790000027.0,1790000028.0,1790000033.0,2,4,NULL,NULL,'stopped by tom',NULL,NULL,1,'step-000002',1,NULL,NULL,NULL,'',0,NULL,'cpu',NULL,NULL,NULL,'bd37d31c1bb0b26c159759d33c39330b',1790000032.0);
INSERT INTO "runs" VALUES(4,'failed','ppo','@DATA@/failed','name: better
seed: 1
device: auto
compute: auto
trackers: []
stage: ppo
policy:
  model: @DATA@/example/sft/model
  revision: null
  train: full
  lora:
    rank: 8
    alpha: 16.0
    targets: null
    dropout: 0.0
    last_layers: null
  top_layers: 2
  adapter: null
  quantize: none
critic:
  kind: value_head
  model: null
  learning_rate: null
reward:
  source: trained
  model: @DATA@/example/reward
  revision: null
  include_prompt: true
  max_length_tokens: null
  microbatch: 64
prompts:
  source: @DATA@/example/data/prompts.txt
  revision: null
  split: train
  limit: null
  column: null
  template: null
  min_characters: 0
  max_characters: null
  first_words: null
  keep_tokens: null
  length_tokens: null
sampling:
  response_tokens:
    low: 16
    high: 24
  temperature: 1.0
  top_k: 0
  top_p: 1.0
  stop_at_eos: true
  engine: auto
batch:
  steps: 4
  rollout: 32
  minibatch: 16
  microbatch: 16
ppo:
  epochs: 4
  clip: 0.2
  dual_clip: null
  value_clip: 0.2
  value_coef: 0.1
  entropy_coef: 0.0
  gamma: 1.0
  lam: 0.95
  whiten_advantages: true
  max_ratio: 10.0
  stop_kl: null
kl:
  placement: reward
  estimator: k1
  coef: 0.1
  adaptive: false
  target_nats_per_sequence: 6.0
  horizon_sequences: 10000
scores:
  scale: none
  center: false
  clip: null
  whiten_rewards: false
  missing_eos: ''off''
  missing_eos_penalty: 1.0
optimizer:
  learning_rate: 0.00015
  betas:
  - 0.9
  - 0.95
  eps: 1.0e-05
  weight_decay: 0.0
  schedule: linear
  warmup_share: 0.0
  final_share: 0.0
  max_grad_norm: 1.0
evaluation:
  every_steps: 2
  prompts: 8
  prompts_file: null
  samples: 1
  report_prompts: 15
  report_samples: 2
  report_file: @DATA@/example/data/report-prompts.txt
  second_opinion:
    source: keyword
    positive:
    - admired
    - adored
    - amazed
    - beautiful
    - bold
    - brilliance
    - brilliant
    - charm
    - charming
    - cheerful
    - clever
    - convinces
    - dazzles
    - delight
    - delighted
    - delightful
    - delights
    - elegance
    - elegant
    - enchanted
    - enjoyed
    - excellent
    - fresh
    - funny
    - gem
    - glows
    - grace
    - graceful
    - grateful
    - great
    - gripping
    - happy
    - inspired
    - joy
    - liked
    - lively
    - loved
    - lovely
    - marvel
    - masterful
    - masterpiece
    - memorable
    - moving
    - passion
    - perfect
    - pleasure
    - praised
    - rich
    - savoured
    - shines
    - soars
    - sparkles
    - splendid
    - subtle
    - succeeds
    - success
    - superb
    - tender
    - tenderness
    - thrilled
    - thrilling
    - touching
    - treasured
    - treat
    - triumph
    - warm
    - warmth
    - wit
    - witty
    - wonder
    - wonderful
    negative:
    - angry
    - annoyed
    - annoys
    - arrogance
    - awful
    - bad
    - bland
    - bore
    - bored
    - boredom
    - bores
    - boring
    - careless
    - carelessness
    - chore
    - clumsiness
    - clumsy
    - collapses
    - confused
    - crude
    - despised
    - disappointed
    - disappointment
    - disappoints
    - disaster
    - disliked
    - drags
    - dreadful
    - dreary
    - dull
    - endured
    - fails
    - failure
    - flat
    - flop
    - forgettable
    - hated
    - hollow
    - horrible
    - indifference
    - laziness
    - lazy
    - lifeless
    - loathed
    - mess
    - messy
    - mistake
    - nonsense
    - nuisance
    - painful
    - pointless
    - poor
    - predictable
    - regretted
    - resented
    - sad
    - shallow
    - silly
    - sinks
    - stale
    - stumbles
    - suffered
    - tedious
    - terrible
    - tired
    - tiresome
    - ugly
    - vanity
    - waste
    - weak
    - weary
    - wooden
    divide_by_words: false
checkpoint:
  every_steps: 2
  keep: 2
  result: last
alarms:
  kl_nats_per_sequence: 20.0
  entropy_share: 0.3
  distinct_2_share: 0.5
  length_correlation: 0.5
  ended_share: 0.0
  saturated_share: 0.5
','failed',2,'key-failed',1790000034.0,1790000034.0,1790000035.0,1790000040.0,2,4,NULL,NULL,'GPU memory: 1 GiB free, 2 GiB needed','use microbatch 4','memory',1,'step-000002',1,NULL,NULL,NULL,'',0,NULL,'cpu',NULL,NULL,NULL,'4bbb9b0b91343638d728259588f6f28b',1790000039.0);
INSERT INTO "runs" VALUES(5,'interrupted','ppo','@DATA@/interrupted','name: better
seed: 1
device: auto
compute: auto
trackers: []
stage: ppo
policy:
  model: @DATA@/example/sft/model
  revision: null
  train: full
  lora:
    rank: 8
    alpha: 16.0
    targets: null
    dropout: 0.0
    last_layers: null
  top_layers: 2
  adapter: null
  quantize: none
critic:
  kind: value_head
  model: null
  learning_rate: null
reward:
  source: trained
  model: @DATA@/example/reward
  revision: null
  include_prompt: true
  max_length_tokens: null
  microbatch: 64
prompts:
  source: @DATA@/example/data/prompts.txt
  revision: null
  split: train
  limit: null
  column: null
  template: null
  min_characters: 0
  max_characters: null
  first_words: null
  keep_tokens: null
  length_tokens: null
sampling:
  response_tokens:
    low: 16
    high: 24
  temperature: 1.0
  top_k: 0
  top_p: 1.0
  stop_at_eos: true
  engine: auto
batch:
  steps: 4
  rollout: 32
  minibatch: 16
  microbatch: 16
ppo:
  epochs: 4
  clip: 0.2
  dual_clip: null
  value_clip: 0.2
  value_coef: 0.1
  entropy_coef: 0.0
  gamma: 1.0
  lam: 0.95
  whiten_advantages: true
  max_ratio: 10.0
  stop_kl: null
kl:
  placement: reward
  estimator: k1
  coef: 0.1
  adaptive: false
  target_nats_per_sequence: 6.0
  horizon_sequences: 10000
scores:
  scale: none
  center: false
  clip: null
  whiten_rewards: false
  missing_eos: ''off''
  missing_eos_penalty: 1.0
optimizer:
  learning_rate: 0.00015
  betas:
  - 0.9
  - 0.95
  eps: 1.0e-05
  weight_decay: 0.0
  schedule: linear
  warmup_share: 0.0
  final_share: 0.0
  max_grad_norm: 1.0
evaluation:
  every_steps: 2
  prompts: 8
  prompts_file: null
  samples: 1
  report_prompts: 15
  report_samples: 2
  report_file: @DATA@/example/data/report-prompts.txt
  second_opinion:
    source: keyword
    positive:
    - admired
    - adored
    - amazed
    - beautiful
    - bold
    - brilliance
    - brilliant
    - charm
    - charming
    - cheerful
    - clever
    - convinces
    - dazzles
    - delight
    - delighted
    - delightful
    - delights
    - elegance
    - elegant
    - enchanted
    - enjoyed
    - excellent
    - fresh
    - funny
    - gem
    - glows
    - grace
    - graceful
    - grateful
    - great
    - gripping
    - happy
    - inspired
    - joy
    - liked
    - lively
    - loved
    - lovely
    - marvel
    - masterful
    - masterpiece
    - memorable
    - moving
    - passion
    - perfect
    - pleasure
    - praised
    - rich
    - savoured
    - shines
    - soars
    - sparkles
    - splendid
    - subtle
    - succeeds
    - success
    - superb
    - tender
    - tenderness
    - thrilled
    - thrilling
    - touching
    - treasured
    - treat
    - triumph
    - warm
    - warmth
    - wit
    - witty
    - wonder
    - wonderful
    negative:
    - angry
    - annoyed
    - annoys
    - arrogance
    - awful
    - bad
    - bland
    - bore
    - bored
    - boredom
    - bores
    - boring
    - careless
    - carelessness
    - chore
    - clumsiness
    - clumsy
    - collapses
    - confused
    - crude
    - despised
    - disappointed
    - disappointment
    - disappoints
    - disaster
    - disliked
    - drags
    - dreadful
    - dreary
    - dull
    - endured
    - fails
    - failure
    - flat
    - flop
    - forgettable
    - hated
    - hollow
    - horrible
    - indifference
    - laziness
    - lazy
    - lifeless
    - loathed
    - mess
    - messy
    - mistake
    - nonsense
    - nuisance
    - painful
    - pointless
    - poor
    - predictable
    - regretted
    - resented
    - sad
    - shallow
    - silly
    - sinks
    - stale
    - stumbles
    - suffered
    - tedious
    - terrible
    - tired
    - tiresome
    - ugly
    - vanity
    - waste
    - weak
    - weary
    - wooden
    divide_by_words: false
checkpoint:
  every_steps: 2
  keep: 2
  result: last
alarms:
  kl_nats_per_sequence: 20.0
  entropy_share: 0.3
  distinct_2_share: 0.5
  length_correlation: 0.5
  ended_share: 0.0
  saturated_share: 0.5
','interrupted',2,'key-interrupted',1790000041.0,1790000041.0,1790000042.0,1790000047.0,2,4,NULL,NULL,'its process is gone',NULL,NULL,1,'step-000002',1,NULL,NULL,NULL,'',0,NULL,'cpu',NULL,NULL,NULL,'c94a8ee6c23271dee980e8565cf367e8',1790000046.0);
INSERT INTO "runs" VALUES(6,'starting','ppo','@DATA@/starting','name: better
seed: 1
device: auto
compute: auto
trackers: []
stage: ppo
policy:
  model: @DATA@/example/sft/model
  revision: null
  train: full
  lora:
    rank: 8
    alpha: 16.0
    targets: null
    dropout: 0.0
    last_layers: null
  top_layers: 2
  adapter: null
  quantize: none
critic:
  kind: value_head
  model: null
  learning_rate: null
reward:
  source: trained
  model: @DATA@/example/reward
  revision: null
  include_prompt: true
  max_length_tokens: null
  microbatch: 64
prompts:
  source: @DATA@/example/data/prompts.txt
  revision: null
  split: train
  limit: null
  column: null
  template: null
  min_characters: 0
  max_characters: null
  first_words: null
  keep_tokens: null
  length_tokens: null
sampling:
  response_tokens:
    low: 16
    high: 24
  temperature: 1.0
  top_k: 0
  top_p: 1.0
  stop_at_eos: true
  engine: auto
batch:
  steps: 4
  rollout: 32
  minibatch: 16
  microbatch: 16
ppo:
  epochs: 4
  clip: 0.2
  dual_clip: null
  value_clip: 0.2
  value_coef: 0.1
  entropy_coef: 0.0
  gamma: 1.0
  lam: 0.95
  whiten_advantages: true
  max_ratio: 10.0
  stop_kl: null
kl:
  placement: reward
  estimator: k1
  coef: 0.1
  adaptive: false
  target_nats_per_sequence: 6.0
  horizon_sequences: 10000
scores:
  scale: none
  center: false
  clip: null
  whiten_rewards: false
  missing_eos: ''off''
  missing_eos_penalty: 1.0
optimizer:
  learning_rate: 0.00015
  betas:
  - 0.9
  - 0.95
  eps: 1.0e-05
  weight_decay: 0.0
  schedule: linear
  warmup_share: 0.0
  final_share: 0.0
  max_grad_norm: 1.0
evaluation:
  every_steps: 2
  prompts: 8
  prompts_file: null
  samples: 1
  report_prompts: 15
  report_samples: 2
  report_file: @DATA@/example/data/report-prompts.txt
  second_opinion:
    source: keyword
    positive:
    - admired
    - adored
    - amazed
    - beautiful
    - bold
    - brilliance
    - brilliant
    - charm
    - charming
    - cheerful
    - clever
    - convinces
    - dazzles
    - delight
    - delighted
    - delightful
    - delights
    - elegance
    - elegant
    - enchanted
    - enjoyed
    - excellent
    - fresh
    - funny
    - gem
    - glows
    - grace
    - graceful
    - grateful
    - great
    - gripping
    - happy
    - inspired
    - joy
    - liked
    - lively
    - loved
    - lovely
    - marvel
    - masterful
    - masterpiece
    - memorable
    - moving
    - passion
    - perfect
    - pleasure
    - praised
    - rich
    - savoured
    - shines
    - soars
    - sparkles
    - splendid
    - subtle
    - succeeds
    - success
    - superb
    - tender
    - tenderness
    - thrilled
    - thrilling
    - touching
    - treasured
    - treat
    - triumph
    - warm
    - warmth
    - wit
    - witty
    - wonder
    - wonderful
    negative:
    - angry
    - annoyed
    - annoys
    - arrogance
    - awful
    - bad
    - bland
    - bore
    - bored
    - boredom
    - bores
    - boring
    - careless
    - carelessness
    - chore
    - clumsiness
    - clumsy
    - collapses
    - confused
    - crude
    - despised
    - disappointed
    - disappointment
    - disappoints
    - disaster
    - disliked
    - drags
    - dreadful
    - dreary
    - dull
    - endured
    - fails
    - failure
    - flat
    - flop
    - forgettable
    - hated
    - hollow
    - horrible
    - indifference
    - laziness
    - lazy
    - lifeless
    - loathed
    - mess
    - messy
    - mistake
    - nonsense
    - nuisance
    - painful
    - pointless
    - poor
    - predictable
    - regretted
    - resented
    - sad
    - shallow
    - silly
    - sinks
    - stale
    - stumbles
    - suffered
    - tedious
    - terrible
    - tired
    - tiresome
    - ugly
    - vanity
    - waste
    - weak
    - weary
    - wooden
    divide_by_words: false
checkpoint:
  every_steps: 2
  keep: 2
  result: last
alarms:
  kl_nats_per_sequence: 20.0
  entropy_share: 0.3
  distinct_2_share: 0.5
  length_correlation: 0.5
  ended_share: 0.0
  saturated_share: 0.5
','starting',2,'key-starting',1790000048.0,1790000048.0,1790000049.0,NULL,0,0,NULL,NULL,NULL,NULL,NULL,1,'step-000002',1,NULL,NULL,NULL,'',0,NULL,'cpu',4000000,1.0,'gone','8a3a5da7d92c9a7ca39bf98b8d9cb51a',1790000050.0);
INSERT INTO "runs" VALUES(7,'running','ppo','@DATA@/running','name: better
seed: 1
device: auto
compute: auto
trackers: []
stage: ppo
policy:
  model: @DATA@/example/sft/model
  revision: null
  train: full
  lora:
    rank: 8
    alpha: 16.0
    targets: null
    dropout: 0.0
    last_layers: null
  top_layers: 2
  adapter: null
  quantize: none
critic:
  kind: value_head
  model: null
  learning_rate: null
reward:
  source: trained
  model: @DATA@/example/reward
  revision: null
  include_prompt: true
  max_length_tokens: null
  microbatch: 64
prompts:
  source: @DATA@/example/data/prompts.txt
  revision: null
  split: train
  limit: null
  column: null
  template: null
  min_characters: 0
  max_characters: null
  first_words: null
  keep_tokens: null
  length_tokens: null
sampling:
  response_tokens:
    low: 16
    high: 24
  temperature: 1.0
  top_k: 0
  top_p: 1.0
  stop_at_eos: true
  engine: auto
batch:
  steps: 4
  rollout: 32
  minibatch: 16
  microbatch: 16
ppo:
  epochs: 4
  clip: 0.2
  dual_clip: null
  value_clip: 0.2
  value_coef: 0.1
  entropy_coef: 0.0
  gamma: 1.0
  lam: 0.95
  whiten_advantages: true
  max_ratio: 10.0
  stop_kl: null
kl:
  placement: reward
  estimator: k1
  coef: 0.1
  adaptive: false
  target_nats_per_sequence: 6.0
  horizon_sequences: 10000
scores:
  scale: none
  center: false
  clip: null
  whiten_rewards: false
  missing_eos: ''off''
  missing_eos_penalty: 1.0
optimizer:
  learning_rate: 0.00015
  betas:
  - 0.9
  - 0.95
  eps: 1.0e-05
  weight_decay: 0.0
  schedule: linear
  warmup_share: 0.0
  final_share: 0.0
  max_grad_norm: 1.0
evaluation:
  every_steps: 2
  prompts: 8
  prompts_file: null
  samples: 1
  report_prompts: 15
  report_samples: 2
  report_file: @DATA@/example/data/report-prompts.txt
  second_opinion:
    source: keyword
    positive:
    - admired
    - adored
    - amazed
    - beautiful
    - bold
    - brilliance
    - brilliant
    - charm
    - charming
    - cheerful
    - clever
    - convinces
    - dazzles
    - delight
    - delighted
    - delightful
    - delights
    - elegance
    - elegant
    - enchanted
    - enjoyed
    - excellent
    - fresh
    - funny
    - gem
    - glows
    - grace
    - graceful
    - grateful
    - great
    - gripping
    - happy
    - inspired
    - joy
    - liked
    - lively
    - loved
    - lovely
    - marvel
    - masterful
    - masterpiece
    - memorable
    - moving
    - passion
    - perfect
    - pleasure
    - praised
    - rich
    - savoured
    - shines
    - soars
    - sparkles
    - splendid
    - subtle
    - succeeds
    - success
    - superb
    - tender
    - tenderness
    - thrilled
    - thrilling
    - touching
    - treasured
    - treat
    - triumph
    - warm
    - warmth
    - wit
    - witty
    - wonder
    - wonderful
    negative:
    - angry
    - annoyed
    - annoys
    - arrogance
    - awful
    - bad
    - bland
    - bore
    - bored
    - boredom
    - bores
    - boring
    - careless
    - carelessness
    - chore
    - clumsiness
    - clumsy
    - collapses
    - confused
    - crude
    - despised
    - disappointed
    - disappointment
    - disappoints
    - disaster
    - disliked
    - drags
    - dreadful
    - dreary
    - dull
    - endured
    - fails
    - failure
    - flat
    - flop
    - forgettable
    - hated
    - hollow
    - horrible
    - indifference
    - laziness
    - lazy
    - lifeless
    - loathed
    - mess
    - messy
    - mistake
    - nonsense
    - nuisance
    - painful
    - pointless
    - poor
    - predictable
    - regretted
    - resented
    - sad
    - shallow
    - silly
    - sinks
    - stale
    - stumbles
    - suffered
    - tedious
    - terrible
    - tired
    - tiresome
    - ugly
    - vanity
    - waste
    - weak
    - weary
    - wooden
    divide_by_words: false
checkpoint:
  every_steps: 2
  keep: 2
  result: last
alarms:
  kl_nats_per_sequence: 20.0
  entropy_share: 0.3
  distinct_2_share: 0.5
  length_correlation: 0.5
  ended_share: 0.0
  saturated_share: 0.5
','running',2,'key-running',1790000051.0,1790000051.0,1790000052.0,NULL,2,4,NULL,NULL,NULL,NULL,NULL,1,'step-000002',1,NULL,NULL,NULL,'',0,NULL,'cpu',4000000,1.0,'gone','889daf826988bdda49b6a5b69bb1bfc6',1790000056.0);
INSERT INTO "runs" VALUES(8,'stopping','ppo','@DATA@/stopping','name: better
seed: 1
device: auto
compute: auto
trackers: []
stage: ppo
policy:
  model: @DATA@/example/sft/model
  revision: null
  train: full
  lora:
    rank: 8
    alpha: 16.0
    targets: null
    dropout: 0.0
    last_layers: null
  top_layers: 2
  adapter: null
  quantize: none
critic:
  kind: value_head
  model: null
  learning_rate: null
reward:
  source: trained
  model: @DATA@/example/reward
  revision: null
  include_prompt: true
  max_length_tokens: null
  microbatch: 64
prompts:
  source: @DATA@/example/data/prompts.txt
  revision: null
  split: train
  limit: null
  column: null
  template: null
  min_characters: 0
  max_characters: null
  first_words: null
  keep_tokens: null
  length_tokens: null
sampling:
  response_tokens:
    low: 16
    high: 24
  temperature: 1.0
  top_k: 0
  top_p: 1.0
  stop_at_eos: true
  engine: auto
batch:
  steps: 4
  rollout: 32
  minibatch: 16
  microbatch: 16
ppo:
  epochs: 4
  clip: 0.2
  dual_clip: null
  value_clip: 0.2
  value_coef: 0.1
  entropy_coef: 0.0
  gamma: 1.0
  lam: 0.95
  whiten_advantages: true
  max_ratio: 10.0
  stop_kl: null
kl:
  placement: reward
  estimator: k1
  coef: 0.1
  adaptive: false
  target_nats_per_sequence: 6.0
  horizon_sequences: 10000
scores:
  scale: none
  center: false
  clip: null
  whiten_rewards: false
  missing_eos: ''off''
  missing_eos_penalty: 1.0
optimizer:
  learning_rate: 0.00015
  betas:
  - 0.9
  - 0.95
  eps: 1.0e-05
  weight_decay: 0.0
  schedule: linear
  warmup_share: 0.0
  final_share: 0.0
  max_grad_norm: 1.0
evaluation:
  every_steps: 2
  prompts: 8
  prompts_file: null
  samples: 1
  report_prompts: 15
  report_samples: 2
  report_file: @DATA@/example/data/report-prompts.txt
  second_opinion:
    source: keyword
    positive:
    - admired
    - adored
    - amazed
    - beautiful
    - bold
    - brilliance
    - brilliant
    - charm
    - charming
    - cheerful
    - clever
    - convinces
    - dazzles
    - delight
    - delighted
    - delightful
    - delights
    - elegance
    - elegant
    - enchanted
    - enjoyed
    - excellent
    - fresh
    - funny
    - gem
    - glows
    - grace
    - graceful
    - grateful
    - great
    - gripping
    - happy
    - inspired
    - joy
    - liked
    - lively
    - loved
    - lovely
    - marvel
    - masterful
    - masterpiece
    - memorable
    - moving
    - passion
    - perfect
    - pleasure
    - praised
    - rich
    - savoured
    - shines
    - soars
    - sparkles
    - splendid
    - subtle
    - succeeds
    - success
    - superb
    - tender
    - tenderness
    - thrilled
    - thrilling
    - touching
    - treasured
    - treat
    - triumph
    - warm
    - warmth
    - wit
    - witty
    - wonder
    - wonderful
    negative:
    - angry
    - annoyed
    - annoys
    - arrogance
    - awful
    - bad
    - bland
    - bore
    - bored
    - boredom
    - bores
    - boring
    - careless
    - carelessness
    - chore
    - clumsiness
    - clumsy
    - collapses
    - confused
    - crude
    - despised
    - disappointed
    - disappointment
    - disappoints
    - disaster
    - disliked
    - drags
    - dreadful
    - dreary
    - dull
    - endured
    - fails
    - failure
    - flat
    - flop
    - forgettable
    - hated
    - hollow
    - horrible
    - indifference
    - laziness
    - lazy
    - lifeless
    - loathed
    - mess
    - messy
    - mistake
    - nonsense
    - nuisance
    - painful
    - pointless
    - poor
    - predictable
    - regretted
    - resented
    - sad
    - shallow
    - silly
    - sinks
    - stale
    - stumbles
    - suffered
    - tedious
    - terrible
    - tired
    - tiresome
    - ugly
    - vanity
    - waste
    - weak
    - weary
    - wooden
    divide_by_words: false
checkpoint:
  every_steps: 2
  keep: 2
  result: last
alarms:
  kl_nats_per_sequence: 20.0
  entropy_share: 0.3
  distinct_2_share: 0.5
  length_correlation: 0.5
  ended_share: 0.0
  saturated_share: 0.5
','stopping',2,'key-stopping',1790000057.0,1790000057.0,1790000058.0,NULL,2,4,NULL,NULL,NULL,NULL,NULL,1,'step-000002',1,1790000063.0,NULL,NULL,'',0,NULL,'cpu',4000000,1.0,'gone','ab7314952252570100336c4d0e54fd49',1790000062.0);
INSERT INTO "runs" VALUES(9,'again','ppo','@DATA@/again','name: better
seed: 1
device: auto
compute: auto
trackers: []
stage: ppo
policy:
  model: @DATA@/example/sft/model
  revision: null
  train: full
  lora:
    rank: 8
    alpha: 16.0
    targets: null
    dropout: 0.0
    last_layers: null
  top_layers: 2
  adapter: null
  quantize: none
critic:
  kind: value_head
  model: null
  learning_rate: null
reward:
  source: trained
  model: @DATA@/example/reward
  revision: null
  include_prompt: true
  max_length_tokens: null
  microbatch: 64
prompts:
  source: @DATA@/example/data/prompts.txt
  revision: null
  split: train
  limit: null
  column: null
  template: null
  min_characters: 0
  max_characters: null
  first_words: null
  keep_tokens: null
  length_tokens: null
sampling:
  response_tokens:
    low: 16
    high: 24
  temperature: 1.0
  top_k: 0
  top_p: 1.0
  stop_at_eos: true
  engine: auto
batch:
  steps: 4
  rollout: 32
  minibatch: 16
  microbatch: 16
ppo:
  epochs: 4
  clip: 0.2
  dual_clip: null
  value_clip: 0.2
  value_coef: 0.1
  entropy_coef: 0.0
  gamma: 1.0
  lam: 0.95
  whiten_advantages: true
  max_ratio: 10.0
  stop_kl: null
kl:
  placement: reward
  estimator: k1
  coef: 0.1
  adaptive: false
  target_nats_per_sequence: 6.0
  horizon_sequences: 10000
scores:
  scale: none
  center: false
  clip: null
  whiten_rewards: false
  missing_eos: ''off''
  missing_eos_penalty: 1.0
optimizer:
  learning_rate: 0.00015
  betas:
  - 0.9
  - 0.95
  eps: 1.0e-05
  weight_decay: 0.0
  schedule: linear
  warmup_share: 0.0
  final_share: 0.0
  max_grad_norm: 1.0
evaluation:
  every_steps: 2
  prompts: 8
  prompts_file: null
  samples: 1
  report_prompts: 15
  report_samples: 2
  report_file: @DATA@/example/data/report-prompts.txt
  second_opinion:
    source: keyword
    positive:
    - admired
    - adored
    - amazed
    - beautiful
    - bold
    - brilliance
    - brilliant
    - charm
    - charming
    - cheerful
    - clever
    - convinces
    - dazzles
    - delight
    - delighted
    - delightful
    - delights
    - elegance
    - elegant
    - enchanted
    - enjoyed
    - excellent
    - fresh
    - funny
    - gem
    - glows
    - grace
    - graceful
    - grateful
    - great
    - gripping
    - happy
    - inspired
    - joy
    - liked
    - lively
    - loved
    - lovely
    - marvel
    - masterful
    - masterpiece
    - memorable
    - moving
    - passion
    - perfect
    - pleasure
    - praised
    - rich
    - savoured
    - shines
    - soars
    - sparkles
    - splendid
    - subtle
    - succeeds
    - success
    - superb
    - tender
    - tenderness
    - thrilled
    - thrilling
    - touching
    - treasured
    - treat
    - triumph
    - warm
    - warmth
    - wit
    - witty
    - wonder
    - wonderful
    negative:
    - angry
    - annoyed
    - annoys
    - arrogance
    - awful
    - bad
    - bland
    - bore
    - bored
    - boredom
    - bores
    - boring
    - careless
    - carelessness
    - chore
    - clumsiness
    - clumsy
    - collapses
    - confused
    - crude
    - despised
    - disappointed
    - disappointment
    - disappoints
    - disaster
    - disliked
    - drags
    - dreadful
    - dreary
    - dull
    - endured
    - fails
    - failure
    - flat
    - flop
    - forgettable
    - hated
    - hollow
    - horrible
    - indifference
    - laziness
    - lazy
    - lifeless
    - loathed
    - mess
    - messy
    - mistake
    - nonsense
    - nuisance
    - painful
    - pointless
    - poor
    - predictable
    - regretted
    - resented
    - sad
    - shallow
    - silly
    - sinks
    - stale
    - stumbles
    - suffered
    - tedious
    - terrible
    - tired
    - tiresome
    - ugly
    - vanity
    - waste
    - weak
    - weary
    - wooden
    divide_by_words: false
checkpoint:
  every_steps: 2
  keep: 2
  result: last
alarms:
  kl_nats_per_sequence: 20.0
  entropy_share: 0.3
  distinct_2_share: 0.5
  length_correlation: 0.5
  ended_share: 0.0
  saturated_share: 0.5
','queued',2,'key-again',1790000064.0,1790000066.0,NULL,NULL,0,0,NULL,NULL,NULL,NULL,NULL,0,NULL,1,NULL,NULL,NULL,'',0,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "runs" VALUES(10,'queued','ppo','@DATA@/queued','name: better
seed: 1
device: auto
compute: auto
trackers: []
stage: ppo
policy:
  model: @DATA@/example/sft/model
  revision: null
  train: full
  lora:
    rank: 8
    alpha: 16.0
    targets: null
    dropout: 0.0
    last_layers: null
  top_layers: 2
  adapter: null
  quantize: none
critic:
  kind: value_head
  model: null
  learning_rate: null
reward:
  source: trained
  model: @DATA@/example/reward
  revision: null
  include_prompt: true
  max_length_tokens: null
  microbatch: 64
prompts:
  source: @DATA@/example/data/prompts.txt
  revision: null
  split: train
  limit: null
  column: null
  template: null
  min_characters: 0
  max_characters: null
  first_words: null
  keep_tokens: null
  length_tokens: null
sampling:
  response_tokens:
    low: 16
    high: 24
  temperature: 1.0
  top_k: 0
  top_p: 1.0
  stop_at_eos: true
  engine: auto
batch:
  steps: 4
  rollout: 32
  minibatch: 16
  microbatch: 16
ppo:
  epochs: 4
  clip: 0.2
  dual_clip: null
  value_clip: 0.2
  value_coef: 0.1
  entropy_coef: 0.0
  gamma: 1.0
  lam: 0.95
  whiten_advantages: true
  max_ratio: 10.0
  stop_kl: null
kl:
  placement: reward
  estimator: k1
  coef: 0.1
  adaptive: false
  target_nats_per_sequence: 6.0
  horizon_sequences: 10000
scores:
  scale: none
  center: false
  clip: null
  whiten_rewards: false
  missing_eos: ''off''
  missing_eos_penalty: 1.0
optimizer:
  learning_rate: 0.00015
  betas:
  - 0.9
  - 0.95
  eps: 1.0e-05
  weight_decay: 0.0
  schedule: linear
  warmup_share: 0.0
  final_share: 0.0
  max_grad_norm: 1.0
evaluation:
  every_steps: 2
  prompts: 8
  prompts_file: null
  samples: 1
  report_prompts: 15
  report_samples: 2
  report_file: @DATA@/example/data/report-prompts.txt
  second_opinion:
    source: keyword
    positive:
    - admired
    - adored
    - amazed
    - beautiful
    - bold
    - brilliance
    - brilliant
    - charm
    - charming
    - cheerful
    - clever
    - convinces
    - dazzles
    - delight
    - delighted
    - delightful
    - delights
    - elegance
    - elegant
    - enchanted
    - enjoyed
    - excellent
    - fresh
    - funny
    - gem
    - glows
    - grace
    - graceful
    - grateful
    - great
    - gripping
    - happy
    - inspired
    - joy
    - liked
    - lively
    - loved
    - lovely
    - marvel
    - masterful
    - masterpiece
    - memorable
    - moving
    - passion
    - perfect
    - pleasure
    - praised
    - rich
    - savoured
    - shines
    - soars
    - sparkles
    - splendid
    - subtle
    - succeeds
    - success
    - superb
    - tender
    - tenderness
    - thrilled
    - thrilling
    - touching
    - treasured
    - treat
    - triumph
    - warm
    - warmth
    - wit
    - witty
    - wonder
    - wonderful
    negative:
    - angry
    - annoyed
    - annoys
    - arrogance
    - awful
    - bad
    - bland
    - bore
    - bored
    - boredom
    - bores
    - boring
    - careless
    - carelessness
    - chore
    - clumsiness
    - clumsy
    - collapses
    - confused
    - crude
    - despised
    - disappointed
    - disappointment
    - disappoints
    - disaster
    - disliked
    - drags
    - dreadful
    - dreary
    - dull
    - endured
    - fails
    - failure
    - flat
    - flop
    - forgettable
    - hated
    - hollow
    - horrible
    - indifference
    - laziness
    - lazy
    - lifeless
    - loathed
    - mess
    - messy
    - mistake
    - nonsense
    - nuisance
    - painful
    - pointless
    - poor
    - predictable
    - regretted
    - resented
    - sad
    - shallow
    - silly
    - sinks
    - stale
    - stumbles
    - suffered
    - tedious
    - terrible
    - tired
    - tiresome
    - ugly
    - vanity
    - waste
    - weak
    - weary
    - wooden
    divide_by_words: false
checkpoint:
  every_steps: 2
  keep: 2
  result: last
alarms:
  kl_nats_per_sequence: 20.0
  entropy_share: 0.3
  distinct_2_share: 0.5
  length_correlation: 0.5
  ended_share: 0.0
  saturated_share: 0.5
','queued',2,'key-queued',1790000067.0,1790000067.0,NULL,NULL,0,0,NULL,NULL,NULL,NULL,NULL,0,NULL,1,NULL,NULL,NULL,'',0,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
CREATE TABLE users (
	id INTEGER NOT NULL, 
	name VARCHAR(64) NOT NULL, 
	password_hash VARCHAR(255) NOT NULL, 
	role VARCHAR(16) NOT NULL, 
	created DOUBLE NOT NULL, 
	disabled BOOLEAN NOT NULL, 
	failures INTEGER NOT NULL, 
	locked_until DOUBLE NOT NULL, 
	CONSTRAINT pk_users PRIMARY KEY (id), 
	CONSTRAINT uq_users_name UNIQUE (name), 
	CONSTRAINT ck_users_role CHECK (role IN ('admin', 'trainer', 'rater'))
);
INSERT INTO "users" VALUES(1,'anna','$argon2id$v=19$m=65536,t=3,p=4$i/35QIxLJzQi/1lBzDBf0w$HjtfNx0NE395bKjI22P6uOoFT4RFlbKXuVHg4X8dg8Q','admin',1790000002.0,0,0,0.0);
INSERT INTO "users" VALUES(2,'tom','$argon2id$v=19$m=65536,t=3,p=4$xQheKlUdP9dYn1D1KgZFHA$oe6VFAys0+2N/P0uVxAVZQi5zUiPp/a5GJPlEih2waM','trainer',1790000003.0,0,0,0.0);
INSERT INTO "users" VALUES(3,'rita','$argon2id$v=19$m=65536,t=3,p=4$YCsilfl30EDiCUQfV/pqXQ$YDathZb2coGeO3ghE+mOgObyUbjOvyMW230QcCr35ts','rater',1790000004.0,0,0,0.0);
INSERT INTO "users" VALUES(4,'ralf','$argon2id$v=19$m=65536,t=3,p=4$5dGjCdVUm7qLnwOMA8wtfg$e8n1ITz9IEdzB36o7IW+IrzuwJC1fosLMxE5vPRrqTo','rater',1790000005.0,0,0,0.0);
INSERT INTO "users" VALUES(5,'rosa','$argon2id$v=19$m=65536,t=3,p=4$eXg2TUNs4eq0ck9mWylvyA$I4GIPn2w9mtq1YuvXUODX7acWxh+YecNgqyc8Y84bmg','rater',1790000006.0,0,0,0.0);
INSERT INTO "users" VALUES(6,'gustav','$argon2id$v=19$m=65536,t=3,p=4$EjPetn4nJdYn+mAIpNh1UA$xOs1zHIQAA0msg2ZCmlggPypgtLMnVjlV/Z1yb4fa1U','trainer',1790000007.0,1,0,0.0);
CREATE TABLE vote_batches (
	id INTEGER NOT NULL, 
	name VARCHAR(128) NOT NULL, 
	run_id INTEGER, 
	mode VARCHAR(16) NOT NULL, 
	guideline TEXT NOT NULL, 
	repeat_share DOUBLE NOT NULL, 
	created DOUBLE NOT NULL, 
	closed BOOLEAN NOT NULL, 
	CONSTRAINT pk_vote_batches PRIMARY KEY (id), 
	CONSTRAINT fk_vote_batches_run_id_runs FOREIGN KEY(run_id) REFERENCES runs (id) ON DELETE SET NULL
);
INSERT INTO "vote_batches" VALUES(1,'kindness',2,'pair','Which is kinder?',0.3,1790000071.0,1);
INSERT INTO "vote_batches" VALUES(2,'ranked',NULL,'best_of_4','',0.0,1790000097.0,0);
CREATE TABLE vote_items (
	id INTEGER NOT NULL, 
	batch_id INTEGER NOT NULL, 
	prompt TEXT NOT NULL, 
	responses JSON NOT NULL, 
	origins JSON NOT NULL, 
	CONSTRAINT pk_vote_items PRIMARY KEY (id), 
	CONSTRAINT fk_vote_items_batch_id_vote_batches FOREIGN KEY(batch_id) REFERENCES vote_batches (id) ON DELETE CASCADE
);
INSERT INTO "vote_items" VALUES(1,1,'prompt 0','["before 0", "after 0"]','["before", "after"]');
INSERT INTO "vote_items" VALUES(2,1,'prompt 1','["before 1", "after 1"]','["before", "after"]');
INSERT INTO "vote_items" VALUES(3,1,'prompt 2','["before 2", "after 2"]','["before", "after"]');
INSERT INTO "vote_items" VALUES(4,1,'prompt 3','["before 3", "after 3"]','["before", "after"]');
INSERT INTO "vote_items" VALUES(5,1,'prompt 4','["before 4", "after 4"]','["before", "after"]');
INSERT INTO "vote_items" VALUES(6,1,'prompt 5','["before 5", "after 5"]','["before", "after"]');
INSERT INTO "vote_items" VALUES(7,1,'prompt 6','["before 6", "after 6"]','["before", "after"]');
INSERT INTO "vote_items" VALUES(8,1,'prompt 7','["before 7", "after 7"]','["before", "after"]');
INSERT INTO "vote_items" VALUES(9,2,'four 0','["0w", "0x", "0y", "0z"]','["sample", "sample", "sample", "sample"]');
INSERT INTO "vote_items" VALUES(10,2,'four 1','["1w", "1x", "1y", "1z"]','["sample", "sample", "sample", "sample"]');
CREATE TABLE votes (
	id INTEGER NOT NULL, 
	assignment_id INTEGER NOT NULL, 
	"key" VARCHAR(64) NOT NULL, 
	choice VARCHAR(16) NOT NULL, 
	ranking JSON, 
	reason VARCHAR(255) NOT NULL, 
	seconds DOUBLE NOT NULL, 
	created DOUBLE NOT NULL, 
	undone DOUBLE, 
	CONSTRAINT pk_votes PRIMARY KEY (id), 
	CONSTRAINT uq_votes_key UNIQUE ("key"), 
	CONSTRAINT ck_votes_choice CHECK (choice IN ('a', 'b', 'same', 'both_bad', 'skip', 'ranked')), 
	CONSTRAINT fk_votes_assignment_id_assignments FOREIGN KEY(assignment_id) REFERENCES assignments (id) ON DELETE CASCADE
);
INSERT INTO "votes" VALUES(1,1,'1-3-0','a','null','',0.0,1790000072.0,NULL);
INSERT INTO "votes" VALUES(2,2,'1-3-1','b','null','clearer',1.5,1790000073.0,NULL);
INSERT INTO "votes" VALUES(3,3,'1-3-2','same','null','',3.0,1790000074.0,1790000075.0);
INSERT INTO "votes" VALUES(4,3,'1-3-3','both_bad','null','',4.5,1790000076.0,NULL);
INSERT INTO "votes" VALUES(5,4,'1-3-4','skip','null','',6.0,1790000077.0,NULL);
INSERT INTO "votes" VALUES(6,5,'1-3-5','a','null','',7.5,1790000078.0,NULL);
INSERT INTO "votes" VALUES(7,6,'1-3-6','b','null','',9.0,1790000079.0,NULL);
INSERT INTO "votes" VALUES(8,7,'1-3-7','same','null','',10.5,1790000080.0,NULL);
INSERT INTO "votes" VALUES(9,8,'1-3-8','both_bad','null','',12.0,1790000081.0,NULL);
INSERT INTO "votes" VALUES(10,9,'1-3-9','skip','null','',13.5,1790000082.0,NULL);
INSERT INTO "votes" VALUES(11,10,'1-3-10','a','null','',15.0,1790000083.0,NULL);
INSERT INTO "votes" VALUES(12,11,'1-4-0','a','null','',0.0,1790000084.0,NULL);
INSERT INTO "votes" VALUES(13,12,'1-4-1','b','null','clearer',1.5,1790000085.0,NULL);
INSERT INTO "votes" VALUES(14,13,'1-4-2','same','null','',3.0,1790000086.0,1790000087.0);
INSERT INTO "votes" VALUES(15,13,'1-4-3','both_bad','null','',4.5,1790000088.0,NULL);
INSERT INTO "votes" VALUES(16,14,'1-4-4','skip','null','',6.0,1790000089.0,NULL);
INSERT INTO "votes" VALUES(17,15,'1-4-5','a','null','',7.5,1790000090.0,NULL);
INSERT INTO "votes" VALUES(18,16,'1-4-6','b','null','',9.0,1790000091.0,NULL);
INSERT INTO "votes" VALUES(19,17,'1-4-7','same','null','',10.5,1790000092.0,NULL);
INSERT INTO "votes" VALUES(20,18,'1-4-8','both_bad','null','',12.0,1790000093.0,NULL);
INSERT INTO "votes" VALUES(21,19,'1-4-9','skip','null','',13.5,1790000094.0,NULL);
INSERT INTO "votes" VALUES(22,20,'1-4-10','a','null','',15.0,1790000095.0,NULL);
INSERT INTO "votes" VALUES(23,21,'ranked-1','ranked','[2, 0, 3, 1]','',9.0,1790000098.0,NULL);
CREATE TABLE workers (
	id VARCHAR(64) NOT NULL, 
	host VARCHAR(255) NOT NULL, 
	pid INTEGER NOT NULL, 
	device VARCHAR(64) NOT NULL, 
	started DOUBLE NOT NULL, 
	heartbeat DOUBLE NOT NULL, 
	CONSTRAINT pk_workers PRIMARY KEY (id)
);
INSERT INTO "workers" VALUES('cpu','vm',17,'cpu',1790000099.0,1790000099.0);
CREATE INDEX ix_audit_at ON audit (at);
CREATE INDEX ix_datasets_owner_id ON datasets (owner_id);
CREATE INDEX ix_logins_user_id ON logins (user_id);
CREATE INDEX ix_runs_owner_id ON runs (owner_id);
CREATE INDEX ix_runs_state_queued ON runs (state, queued);
CREATE INDEX ix_questions_run_id ON questions (run_id);
CREATE INDEX ix_vote_batches_run_id ON vote_batches (run_id);
CREATE INDEX ix_vote_items_batch_id ON vote_items (batch_id);
CREATE INDEX ix_assignments_batch_id ON assignments (batch_id);
CREATE INDEX ix_assignments_user_id ON assignments (user_id);
CREATE INDEX ix_votes_assignment_id ON votes (assignment_id);
CREATE UNIQUE INDEX uq_votes_one_that_counts ON votes (assignment_id) WHERE undone IS NULL;
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('runs',11);
COMMIT;
